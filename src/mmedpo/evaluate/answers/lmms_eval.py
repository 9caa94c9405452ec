"""Samples of lmms-eval (`--log_samples`): `doc_id, doc, target, resps, filtered_resps`, one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.evaluate.given import GivenAnswer, answer_of, told
from mmedpo.registry import register


@register("answer-format", "lmms-eval")
class LmmsEvalSamples:
    """`doc_id` is a position in the task's dataset; the dataset's own id, if any, lies in `doc`."""

    columns: ClassVar[frozenset[str]] = frozenset({"doc_id", "filtered_resps"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """What the filter left is the answer; older files hold the question in `input` alone."""
        found = row.get("doc")
        doc: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        return GivenAnswer(
            answer_of(row, "filtered_resps"),
            id=told(doc, "qid", "question_id", "id"),
            question=told(doc, "question") or told(row, "input"),
            image=told(doc, "img_name", "image_path"),
            truth=told(row, "target"),
        )
