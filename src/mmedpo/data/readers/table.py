"""Any table of questions by column mapping: CSV, TSV, JSON, JSONL, Parquet, Arrow, Hugging Face folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble, closed_or_open, yes_no_choices
from mmedpo.data.choices import LISTS, Alternatives, BadChoices, choices_of, lettered, option_columns
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text, embedded_images
from mmedpo.data.tabular import FileSettings, TableRow, images_in, read_table_rows, table_files
from mmedpo.errors import ConfigError, DataError, brief, shown
from mmedpo.records import AnswerType, question_text
from mmedpo.registry import register
from mmedpo.storage.embedded import BadImage, EmbeddedImages
from mmedpo.storage.splits import official_name, split_told

COLUMNS = ("image", "question", "answer", "id", "split", "answer_type", "patient_id", "choices")
"""What a table may tell of a question."""

_ID = re.compile(r"[^\w.-]")
_TYPES = {"closed": "closed", "close": "closed", "yes/no": "closed", "open": "open", "report": "report"}
_LONGEST_INDEX = 12


class TableSettings(FileSettings):
    """`data.table.*`: CSV, TSV, JSON, JSONL, Parquet, Arrow, or a folder of these."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Our name to the table's: image, question, answer, and optionally id, split, answer_type, patient_id, choices.

    Images and choices may stand in several columns: `View 1,View 2`; a cell of images may be a list. Columns of choices
    named A, B, C ... are found without a mapping.
    """
    question: str = ""
    """Asked of every image, where the table has no column of questions."""


@register("dataset", "table")
class Table:
    """Reader of a table of one's own."""

    name = "table"
    licence = "the user's"
    settings = TableSettings

    def __init__(self, own: TableSettings | None = None) -> None:
        self.own = own or TableSettings()

    @property
    def data_use(self) -> DataUse:
        """What the user says of a table of one's own."""
        return "restricted" if self.own.restricted else "open"

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads every row; default split: that of the table (a column, or the files' names), else drawn.

        Raises:
            DataError: no such table, or too little is usable.
            ConfigError: a mapping of an unknown name, or a mapped column that the table does not have.
        """
        parsed = parse_table(self.name, root, self.own, embedded_images(settings))
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


def parse_table(name: str, root: Path, table: TableSettings, store: EmbeddedImages) -> Parsed:
    """Rows of a table to questions."""
    unknown = sorted(set(table.columns) - set(COLUMNS))
    if unknown:
        raise ConfigError(f"data.table.columns maps {shown(unknown[0])}; known are {', '.join(COLUMNS)}")
    reader = _Reader(name, table, Parsed(images=store))
    for number, row in enumerate(read_table_rows(root, table_files(root, table.file))):
        reader.add(row, number)
    reader.check(root)
    return reader.parsed


@dataclass
class _Reader:
    """Adds row after row of one table, and knows which columns it has met."""

    name: str
    table: TableSettings
    parsed: Parsed
    met: set[str] = field(default_factory=set)
    shown_before: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Id to images, of the rows that hold theirs inside: VLMEvalKit names such a row instead of repeating its image."""
    options: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = {**{column: column for column in COLUMNS}, **self.table.columns}

    def add(self, row: TableRow, number: int) -> None:
        """One row: a question, or a counted drop."""
        parsed = self.parsed
        if row.fault or not isinstance(row.value, Mapping):
            parsed.drop(row.where, "not-a-record", f"{row.where}: {row.fault or 'it is not an object'}")
            return
        cells: Mapping[str, Any] = row.value
        self.met |= {str(key) for key in cells}
        answer = as_text(cells.get(self.columns["answer"]))
        if answer is None:
            parsed.drop(row.where, "missing-key", f"{row.where} needs an image and an answer")
            return
        if isinstance(cells.get(self.columns["split"]), (list, Mapping, bool)):
            parsed.drop(row.where, "bad-split", f"{row.where}: column {shown(self.columns['split'])} names no split")
            return
        try:
            images = self._images(cells)
            choices = self._choices(row)
        except BadImage as bad:
            parsed.drop(row.where, "no-image", f"{row.where}: column {shown(self.columns['image'])} holds {bad}")
            return
        except BadChoices as bad:
            parsed.drop(row.where, "bad-choices", f"{row.where}: {bad}")
            return
        if choices and answer:
            meant = choices.meant(answer)
            if not meant:
                detail = f"{row.where}: answer {shown(answer)} is none of {shown(list(choices.texts))}"
                parsed.drop(row.where, "answer-not-among-choices", detail)
                return
            answer = meant
        self._add(row, number, images, answer, choices.texts)

    def _add(self, row: TableRow, number: int, images: tuple[str, ...], answer: str, choices: tuple[str, ...]) -> None:
        cells = row.value
        told = _TYPES.get((as_text(cells.get(self.columns["answer_type"])) or "").casefold())
        kind = cast(AnswerType, told) if told else "closed" if choices else closed_or_open(answer)
        label = as_text(cells.get(self.columns["id"]))
        split = as_text(cells.get(self.columns["split"])) or self._told(cells) or row.split
        question = question_text(as_text(cells.get(self.columns["question"])) or "", len(images))
        self.parsed.add(
            Question(
                example_id=f"{self.name}-{_ID.sub('_', label)[:80]}" if label else f"{self.name}-{number}",
                image=images[0],
                other_images=images[1:],
                question=question or self.table.question,
                answer=answer,
                answer_type=kind,
                split=official_name(split) if split else "",
                patient_id=as_text(cells.get(self.columns["patient_id"])) or None,
                choices=choices or yes_no_choices(kind, answer),
            )
        )

    def _told(self, cells: Mapping[str, Any]) -> str:
        return "" if "split" in self.table.columns else split_told(cells)

    def _images(self, cells: Mapping[str, Any]) -> tuple[str, ...]:
        """Those of the mapped column, or of each of several mapped columns that has any."""
        name = self.columns["image"]
        value = cells.get(name)
        if "image" in self.table.columns and name not in cells and "," in name:
            value = [held for column in name.split(",") if (held := cells.get(column.strip())) not in (None, "")]
        index = as_text(cells.get("index"))
        if isinstance(value, str) and len(value) <= _LONGEST_INDEX and value in self.shown_before:
            return self.shown_before[value]
        images = images_in(value, self.table.images, self.parsed.images)
        if index and self.parsed.images.names.issuperset(images):
            self.shown_before.setdefault(index, images)
        return images

    def _choices(self, row: TableRow) -> Alternatives:
        """Those of the mapped column or columns; unmapped, of `choices`, `options` ..., or of columns A, B, C ..."""
        cells = row.value
        name = self.columns["choices"]
        if "choices" not in self.table.columns:
            spelled = (key for key in cells if isinstance(key, str) and key.strip().casefold() in LISTS)
            name = next(spelled, name)
        if cells.get(name) not in (None, ""):
            return choices_of(cells[name])
        several = [part.strip() for part in name.split(",")]
        if "choices" not in self.table.columns:
            key = row.columns or tuple(cells)
            if key not in self.options:
                self.options[key] = option_columns([column for column in key if isinstance(column, str)])
            several = self.options[key]
        said = [as_text(cells.get(column)) for column in several]
        held = {chr(ord("A") + place): text for place, text in enumerate(said) if text}
        return lettered("".join(held), list(held.values())) if len(held) > 1 else Alternatives()

    def check(self, root: Path) -> None:
        """Refuses a mapping that the table does not fulfil, and a table without the columns that are needed."""
        mapped = self.table.columns
        for ours, theirs in mapped.items():
            several = ours in ("choices", "image") and theirs not in self.met
            wanted = [part.strip() for part in theirs.split(",")] if several else [theirs]
            gone = [column for column in wanted if column not in self.met]
            if self.met and gone:
                raise ConfigError(f"data.table.columns maps {ours} to {shown(gone[0])}, the table has {self._found()}")
        if "choices" in mapped and not any(question.choices for question in self.parsed.questions):
            bad = next((drop.detail for drop in self.parsed.drops if drop.reason == "bad-choices"), "")
            if bad:
                raise ConfigError(
                    f"data.table.columns maps choices to {shown(mapped['choices'])}, but {bad}; "
                    "map it to a column of lists, or to several columns: 'Choice A,Choice B'"
                )
        if not self.parsed.questions and self.met:
            self._check_needed(root)

    def _check_needed(self, root: Path) -> None:
        needed = [ours for ours in ("image", "question", "answer") if not self._there(ours)]
        if self.table.question and "question" in needed:
            needed.remove("question")
        if needed and "conversations" in self.met:
            raise DataError(f"{root}: the table holds conversations; read it with data.dataset=llava-med")
        if needed:
            raise DataError(
                f"{root}: the table has no column {shown(self.columns[needed[0]])} (it has {self._found()}); "
                f"map it with data.table.columns.{needed[0]}=COLUMN"
            )

    def _there(self, ours: str) -> bool:
        return ours in self.table.columns or self.columns[ours] in self.met

    def _found(self) -> str:
        return ", ".join(brief(name, 40) for name in sorted(self.met)[:12])
