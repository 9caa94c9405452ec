"""LLaVA-Med question files: JSONL of `question_id, image, text, gpt4_answer, answer_type` beside their images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mmedpo.data.assemble import DISJOINT, Parsed, Question, assemble, closed_or_open, first_of, yes_no_choices
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text
from mmedpo.data.tabular import FileSettings, TableRow, image_path, read_table_rows, table_files
from mmedpo.registry import register

_ANSWERS = ("gpt4_answer", "gt_ans", "answer")
"""Columns the ground truth stands in, in order of preference."""
_FOLDERS = ("images", "image")
_ID = re.compile(r"[^\w.-]")


@register("dataset", "llava-med")
class LlavaMed:
    """Reader of a question file and its images."""

    name = "llava-med"
    licence = "that of the images and answers in the file (LLaVA-Med data: CC-BY-NC-4.0)"
    group = "table"
    settings = FileSettings

    def __init__(self, own: FileSettings | None = None) -> None:
        self.own = own or FileSettings()

    @property
    def data_use(self) -> DataUse:
        """The files hold images of open and of restricted sets: the user says which."""
        return "restricted" if self.own.restricted else "open"

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads every question with an answer; the files have no split of their own, so it is drawn.

        Raises:
            DataError: no question file, or too little is usable.
            ConfigError: an official split is asked for.
        """
        folder = self.own.images or next((name for name in _FOLDERS if (root / name).is_dir()), "")
        parsed = Parsed()
        for row in read_table_rows(root, table_files(root, self.own.file)):
            _add(parsed, root, folder, row)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=DISJOINT)


def _add(parsed: Parsed, root: Path, folder: str, row: TableRow) -> None:
    if not isinstance(row.value, Mapping):
        parsed.drop(row.where, "not-a-record", f"{row.where} is not an object")
        return
    qid = as_text(row.value.get("question_id"))
    image, question = image_path(root, folder, row.value.get("image")), as_text(row.value.get("text"))
    answer = first_of(as_text(row.value.get(name)) for name in _ANSWERS)
    if not qid or image is None or question is None:
        parsed.drop(row.where, "missing-key", f"{row.where} needs question_id, image and text")
        return
    told = (as_text(row.value.get("answer_type")) or "").casefold()
    answer_type = (
        "closed" if told.startswith("close") else "open" if told.startswith("open") else closed_or_open(answer)
    )
    parsed.add(
        Question(
            example_id=f"llava-med-{_ID.sub('_', qid)[:80]}",
            image=image,
            question=question.replace("<image>", "").strip(),
            answer=answer,
            answer_type=answer_type,
            split="",
            choices=yes_no_choices(answer_type, answer),
        )
    )
