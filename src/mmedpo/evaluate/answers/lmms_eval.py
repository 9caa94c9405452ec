"""Samples of lmms-eval (`--log_samples`): `doc_id, doc, target, resps, filtered_resps`, one JSON object a line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmedpo.evaluate.given import AnsweredQuestion, GivenAnswer, ModelAnswers, answer_of, file_name, told
from mmedpo.registry import register
from mmedpo.storage.tables import write_text


@register("answer-format", "lmms-eval")
class LmmsEvalSamples:
    """`doc_id` is a position in the task's dataset; the dataset's own id, if any, lies in `doc`."""

    columns: ClassVar[frozenset[str]] = frozenset({"doc_id"})

    def rows(self, whole: Mapping[str, Any]) -> Sequence[Any] | None:
        """Those of the one task whose samples a results object holds (`simple_evaluate`)."""
        samples = whole.get("samples")
        of_tasks = list(samples.values()) if isinstance(samples, Mapping) else []
        return of_tasks[0] if len(of_tasks) == 1 and isinstance(of_tasks[0], list) else None

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """What the filter left is the answer, or all that was said; older files hold the question in `input` alone."""
        found = row.get("doc")
        doc: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        return GivenAnswer(
            answer_of(row, "filtered_resps" if "filtered_resps" in row else "resps"),
            id=told(doc, "qid", "question_id", "id"),
            question=told(doc, "question") or told(row, "input"),
            image=told(doc, "img_name", "image_path"),
            truth=told(row, "target"),
        )

    def write(self, own: ModelAnswers, folder: Path) -> Path:
        """`MODEL_samples_DATASET.jsonl`, one line a question, with the values of the run's protocol."""
        path = folder / f"{file_name(own.model, 'samples', own.dataset)}.jsonl"
        lines = (json.dumps(_line(number, item), ensure_ascii=False) for number, item in enumerate(own.answers))
        write_text(path, "".join(f"{line}\n" for line in lines))
        return path


def _line(number: int, item: AnsweredQuestion) -> dict[str, Any]:
    example, text = item.example, item.answer.text
    doc = {
        "question_id": example.example_id,
        "question": example.question,
        "answer": example.answer,
        "image_path": example.image.path,
        "split": example.split,
    }
    return {
        "doc_id": number,
        "doc": doc,
        "target": example.answer,
        "input": example.question,
        "resps": [[text]],
        "filtered_resps": [text],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(example.question),
        "target_hash": _hash(example.answer),
        **item.values,
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
