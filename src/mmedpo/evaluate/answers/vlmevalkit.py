"""Predictions of VLMEvalKit as .xlsx, .tsv or .json (`PRED_FORMAT`): `index, question, answer, prediction`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.evaluate.given import GivenAnswer, answer_of, told
from mmedpo.registry import register


@register("answer-format", "vlmevalkit")
class VlmEvalKitPredictions:
    """`index` is that of the dataset's own table."""

    columns: ClassVar[frozenset[str]] = frozenset({"index", "prediction"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """`answer` is the truth."""
        return GivenAnswer(
            answer_of(row, "prediction"),
            id=told(row, "index"),
            question=told(row, "question"),
            image=told(row, "image_path"),
            truth=told(row, "answer"),
        )
