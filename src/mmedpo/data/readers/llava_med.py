"""LLaVA-Med question files beside their images, in either layout it is published in.

question_id, image, text, gpt4_answer, answer_type              *_llavamed_format.jsonl
id, image, conversations [{from: human, value}, {from: gpt, value}], answer_type         train.json, test.json
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble, closed_or_open, first_of, yes_no_choices
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text, embedded_images
from mmedpo.data.tabular import FileSettings, TableRow, images_in, read_table_rows, table_files
from mmedpo.records import question_text
from mmedpo.registry import register
from mmedpo.storage.embedded import BadImage
from mmedpo.storage.speakers import role_of
from mmedpo.storage.splits import official_name

_ANSWERS = ("gpt4_answer", "gt_ans", "answer")
"""Columns the ground truth stands in, in order of preference."""
_FOLDERS = ("images", "image")
_ID = re.compile(r"[^\w.-]")


@register("dataset", "llava-med")
class LlavaMed:
    """Reader of question files and their images."""

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
        """Reads every question with an answer; default split: what rows or file names tell, else drawn.

        Raises:
            DataError: no question file, or too little is usable.
            ConfigError: an official split is asked for, and nothing tells one.
        """
        folder = self.own.images or next((name for name in _FOLDERS if (root / name).is_dir()), "")
        parsed = Parsed(images=embedded_images(settings))
        for row in read_table_rows(root, table_files(root, self.own.file)):
            _add(parsed, folder, row)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


def _add(parsed: Parsed, folder: str, row: TableRow) -> None:
    if row.fault or not isinstance(row.value, Mapping):
        parsed.drop(row.where, "not-a-record", f"{row.where}: {row.fault or 'it is not an object'}")
        return
    cells: Mapping[str, Any] = row.value
    qid = first_of(as_text(cells.get(name)) for name in ("question_id", "id"))
    asked = list(_asked(cells))
    if not qid or not asked:
        needed = "question_id, image and text, or id, image and conversations"
        parsed.drop(row.where, "missing-key", f"{row.where} needs {needed}")
        return
    try:
        images = images_in(cells.get("image") or cells.get("images"), folder, parsed.images)
    except BadImage as bad:
        parsed.drop(row.where, "no-image", f"{row.where}: image holds {bad}")
        return
    told = (as_text(cells.get("answer_type")) or "").casefold()
    split = as_text(cells.get("split")) or row.split
    for number, (question, answer) in enumerate(asked):
        kind = "closed" if told.startswith("close") else "open" if told.startswith("open") else closed_or_open(answer)
        place = f"-{number}" if len(asked) > 1 else ""
        parsed.add(
            Question(
                example_id=f"llava-med-{_ID.sub('_', qid)[:80]}{place}",
                image=images[0],
                other_images=images[1:],
                question=question_text(question, len(images)),
                answer=answer,
                answer_type=kind,
                split=official_name(split) if split else "",
                choices=yes_no_choices(kind, answer),
            )
        )


def _asked(cells: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(question, answer) of every exchange of a row; the answer is empty where none is given."""
    turns = cells.get("conversations")
    if not isinstance(turns, list):
        question = as_text(cells.get("text"))
        if question is not None:
            yield question, first_of(as_text(cells.get(name)) for name in _ANSWERS)
        return
    question = None
    for turn in turns:
        said = as_text(turn.get("value", turn.get("content"))) if isinstance(turn, Mapping) else None
        role = role_of(turn.get("from", turn.get("role"))) if isinstance(turn, Mapping) else None
        if role == "user":
            question = said
        elif role == "assistant" and question is not None:
            yield question, said or ""
            question = None
