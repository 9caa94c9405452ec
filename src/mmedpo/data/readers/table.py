"""Any table of questions by column mapping: CSV, TSV, JSON, JSONL, Parquet, Arrow, Hugging Face folders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import Field

from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble, closed_or_open, official_name, yes_no_choices
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text
from mmedpo.data.tabular import FileSettings, TableRow, image_path, read_table_rows, table_files
from mmedpo.errors import ConfigError, DataError
from mmedpo.records import AnswerType
from mmedpo.registry import register

COLUMNS = ("image", "question", "answer", "id", "split", "answer_type", "patient_id", "choices")
"""What a table may tell of a question."""

_ID = re.compile(r"[^\w.-]")
_TYPES = {"closed": "closed", "close": "closed", "yes/no": "closed", "open": "open", "report": "report"}


class TableSettings(FileSettings):
    """`data.table.*`: CSV, TSV, JSON, JSONL, Parquet, Arrow, or a folder of these."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Our name to the table's: image, question, answer, and optionally id, split, answer_type, patient_id, choices."""
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
        parsed = parse_table(self.name, root, self.own)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


def parse_table(name: str, root: Path, table: TableSettings) -> Parsed:
    """Rows of a table to questions."""
    unknown = sorted(set(table.columns) - set(COLUMNS))
    if unknown:
        raise ConfigError(f"data.table.columns maps {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    columns = {**{column: column for column in COLUMNS}, **table.columns}
    parsed = Parsed()
    met: set[str] = set()
    for number, row in enumerate(read_table_rows(root, table_files(root, table.file))):
        if not isinstance(row.value, Mapping):
            parsed.drop(row.where, "not-a-record", f"{row.where} is not an object")
            continue
        met |= {str(key) for key in row.value}
        _add(name, parsed, root, table, columns, row, number)
    for ours, theirs in table.columns.items():
        if met and theirs not in met:
            found = ", ".join(sorted(met)[:12])
            raise ConfigError(f"data.table.columns maps {ours} to {theirs!r}, the table has {found}")
    if not parsed.questions and met:
        needed = [ours for ours in ("image", "question", "answer") if columns[ours] not in met]
        if table.question and "question" in needed:
            needed.remove("question")
        if needed:
            raise DataError(
                f"{root}: the table has no column {columns[needed[0]]!r} (it has {', '.join(sorted(met)[:12])}); "
                f"map it with data.table.columns.{needed[0]}=COLUMN"
            )
    return parsed


def _add(
    name: str,
    parsed: Parsed,
    root: Path,
    table: TableSettings,
    columns: Mapping[str, str],
    row: TableRow,
    number: int,
) -> None:
    cells: Mapping[str, Any] = row.value
    image = image_path(root, table.images, cells.get(columns["image"]))
    question = (as_text(cells.get(columns["question"])) or "").replace("<image>", "").strip() or table.question
    answer = as_text(cells.get(columns["answer"]))
    if image is None or answer is None:
        parsed.drop(row.where, "missing-key", f"{row.where} needs an image and an answer")
        return
    told = _TYPES.get((as_text(cells.get(columns["answer_type"])) or "").casefold())
    answer_type = cast(AnswerType, told) if told else closed_or_open(answer)
    label = as_text(cells.get(columns["id"]))
    choices = cells.get(columns["choices"])
    listed = tuple(text for c in choices if (text := as_text(c))) if isinstance(choices, list) else ()
    split = as_text(cells.get(columns["split"])) or row.split
    parsed.add(
        Question(
            example_id=f"{name}-{_ID.sub('_', label)[:80]}" if label else f"{name}-{number}",
            image=image,
            question=question,
            answer=answer,
            answer_type=answer_type,
            split=official_name(split) if split else "",
            patient_id=as_text(cells.get(columns["patient_id"])) or None,
            choices=listed or yes_no_choices(answer_type, answer),
        )
    )
