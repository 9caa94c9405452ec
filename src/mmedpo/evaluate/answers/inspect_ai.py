"""Logs of inspect_ai: `.eval` archives, and JSON (`--log-format json`, or `inspect log convert --to json`).

A log is one object, `version, status, eval, results, samples`; in an archive the samples lie apart. A sample is a
question: `id, epoch, input, target, output`. The program packs archives with Zstandard since 2026, which Python reads
from 3.14 on alone; it reads deflated ones as well, which is what is written here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmedpo.errors import EvaluationError
from mmedpo.evaluate.given import AnsweredQuestion, BadAnswer, GivenAnswer, ModelAnswers, answer_of, file_name, told
from mmedpo.registry import register
from mmedpo.storage.json_archive import archived_rows, write_archive
from mmedpo.storage.raw import RawRow

_VERSION = 2
"""Of the log's layout."""
_SAMPLES = "samples"
"""Folder of the archive."""
_SUMMARY = ("id", "epoch", "input", "choices", "target", "scores", "metadata")
"""Fields of a sample that the list of samples shows."""
_OWN_ID = "example_id"
"""In the metadata of a sample."""


@register("answer-format", "inspect-ai")
class InspectLog:
    """What is written opens in `inspect view`; each metric of the protocol is a score of the sample."""

    columns: ClassVar[frozenset[str]] = frozenset({"id", "epoch", "input", "target", "output"})
    suffix: ClassVar[str] = ".eval"

    def read(self, path: Path) -> list[RawRow]:
        """The samples of an archive."""
        otherwise = "make a JSON log of it: inspect log convert --to json"
        return list(archived_rows(path, _SAMPLES, EvaluationError, otherwise))

    def rows(self, whole: Mapping[str, Any]) -> Sequence[Any] | None:
        """The samples; a log holds other lists beside them."""
        samples = whole.get("samples")
        return samples if isinstance(samples, list) and isinstance(whole.get("eval"), Mapping) else None

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """The completion is the answer; a sample that ended in an error has none."""
        output = row.get("output")
        if row.get("error") or not isinstance(output, Mapping) or "completion" not in output:
            raise BadAnswer("the sample ended in an error or has no completion")
        metadata = row.get("metadata")
        told_of: Mapping[str, Any] = metadata if isinstance(metadata, Mapping) else {}
        return GivenAnswer(
            answer_of(output, "completion"),
            id=told(told_of, _OWN_ID) or told(row, "id"),
            question=_asked(row.get("input")),
            image=told(told_of, "image", "image_path"),
            truth=told(row, "target"),
        )

    def write(self, own: ModelAnswers, folder: Path) -> Path:
        """`TIME_TASK_ID.eval`, as the program names its logs."""
        key = hashlib.sha256(f"{own.model}\0{own.dataset}\0{own.created}".encode()).hexdigest()[:22]
        path = folder / f"{file_name(own.created, own.dataset, key)}{self.suffix}"
        write_archive(path, ((name, json.dumps(value, ensure_ascii=False)) for name, value in _parts(own, key)))
        return path


def _parts(own: ModelAnswers, key: str) -> Iterator[tuple[str, object]]:
    """The parts of an archive under their names, in the order in which the program writes them."""
    start = {"version": _VERSION, "eval": _spec(own, key), "plan": {"name": "plan", "steps": []}}
    yield "_journal/start.json", start
    ids, summaries = _sample_ids(own), []
    for name, item in zip(ids, own.answers, strict=True):
        sample = {"id": name, **_sample(item, own)}
        summaries.append({**{field: sample[field] for field in _SUMMARY if field in sample}, "completed": True})
        yield f"{_SAMPLES}/{name}_epoch_1.json", sample
    yield "summaries.json", summaries
    stats = {"started_at": own.created, "completed_at": own.created}
    yield "header.json", {**start, "status": "success", "results": _results(own), "stats": stats}


def _sample_ids(own: ModelAnswers) -> list[str]:
    """The ids of the questions, which name parts of the archive; numbers where one would be a path that leads out."""
    ids = [item.example.example_id for item in own.answers]
    harmless = all(name.isprintable() and "\\" not in name and ".." not in name.split("/") for name in ids)
    return ids if harmless else [str(number) for number in range(1, len(ids) + 1)]


def _asked(given: object) -> str:
    """The text of a sample's input: a text, or messages of which the user's are read."""
    if isinstance(given, str):
        return given
    texts = []
    for message in given if isinstance(given, list) else ():
        if isinstance(message, Mapping) and message.get("role") == "user":
            content = message.get("content")
            parts = content if isinstance(content, list) else [{"text": content}]
            texts += [str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text")]
    return "\n".join(texts)


def _spec(own: ModelAnswers, key: str) -> dict[str, Any]:
    return {
        "eval_id": key,
        "run_id": key,
        "created": own.created,
        "task": own.dataset,
        "task_id": key,
        "dataset": {"name": own.dataset, "samples": len(own.answers), "shuffled": False},
        "model": f"mmedpo/{own.model}",
        "config": {"epochs": 1},
        "metadata": {"protocol": own.protocol},
    }


def _results(own: ModelAnswers) -> dict[str, Any]:
    """The mean of every metric over the samples that have it."""
    values: dict[str, list[float]] = {}
    for item in own.answers:
        for metric, value in item.values.items():
            values.setdefault(metric, []).append(value)
    scores = [
        {
            "name": metric,
            "scorer": metric,
            "scored_samples": len(found),
            "unscored_samples": len(own.answers) - len(found),
            "params": {"protocol": own.protocol},
            "metrics": {"mean": {"name": "mean", "value": sum(found) / len(found)}},
        }
        for metric, found in values.items()
    ]
    return {"total_samples": len(own.answers), "completed_samples": len(own.answers), "scores": scores}


def _sample(item: AnsweredQuestion, own: ModelAnswers) -> dict[str, Any]:
    example, text = item.example, item.answer.text
    model = f"mmedpo/{own.model}"
    said = {"role": "assistant", "content": text, "source": "generate", "model": model}
    stopped = "stop" if item.answer.finished else "max_tokens"
    return {
        "epoch": 1,
        "input": example.question,
        "target": example.answer,
        **({"choices": list(example.choices)} if example.choices else {}),
        "messages": [{"role": "user", "content": example.question, "source": "input"}, said],
        "output": {"model": model, "choices": [{"message": said, "stop_reason": stopped}], "completion": text},
        "scores": {metric: {"value": value, "answer": text} for metric, value in item.values.items()},
        "metadata": {
            _OWN_ID: example.example_id,
            "image": example.image.path,
            "split": example.split,
            "answer_type": example.answer_type,
            "error_type": example.error_type,
        },
    }
