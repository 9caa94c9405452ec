"""Predictions of VLMEvalKit as .xlsx, .tsv or .json (`PRED_FORMAT`): `index, question, answer, prediction`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmedpo.errors import EvaluationError
from mmedpo.evaluate.given import BadAnswer, GivenAnswer, ModelAnswers, answer_of, file_name, told
from mmedpo.registry import register
from mmedpo.storage.workbook_writing import write_workbook

_FAILED = "Failed to obtain answer"
"""What stands in the place of an answer that a server did not give."""


@register("answer-format", "vlmevalkit")
class VlmEvalKitPredictions:
    """`index` is that of the dataset's own table."""

    columns: ClassVar[frozenset[str]] = frozenset({"index", "prediction"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """`answer` is the truth."""
        text = answer_of(row, "prediction")
        if text.startswith(_FAILED):
            raise BadAnswer(f"the call failed ({_FAILED!r}); run it again with --reuse")
        return GivenAnswer(
            text,
            id=told(row, "index"),
            question=told(row, "question"),
            image=told(row, "image_path"),
            truth=told(row, "answer"),
        )

    def write(self, own: ModelAnswers, folder: Path) -> Path:
        """`MODEL_DATASET.xlsx`, the file its evaluation looks for."""
        path = folder / f"{file_name(own.model, own.dataset)}.xlsx"
        columns = ("index", "image_path", "question", "answer", "split", "category", "prediction")
        rows = (
            (e.example_id, e.image.path, e.question, e.answer, e.split, e.answer_type, item.answer.text)
            for item in own.answers
            for e in [item.example]
        )
        write_workbook(path, columns, rows, EvaluationError)
        return path
