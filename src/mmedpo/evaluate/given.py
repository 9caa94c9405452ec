"""What a layout of an answer file is: what it reads a row into, and what it writes a file from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from mmedpo.errors import shown
from mmedpo.records import Example, Prediction
from mmedpo.registry import optional
from mmedpo.storage.raw import RawRow


class BadAnswer(Exception):
    """A row that holds no answer; the message says why."""


class GivenAnswer(NamedTuple):
    """One row: the answer, and whatever the row says of the question it answers. Empty: it does not say."""

    text: str
    """The answer as written, stripped; may be empty, as models say nothing at times."""
    id: str = ""
    """How the file names the question."""
    question: str = ""
    """The question's text, perhaps inside a longer prompt."""
    image: str = ""
    """File of the image, as the file names it."""
    truth: str = ""
    """The reference answer that the file repeats."""


class AnsweredQuestion(NamedTuple):
    """An answer of a run, and what was found of it."""

    example: Example
    """The question."""
    answer: Prediction
    """The answer."""
    values: Mapping[str, float]
    """Metric -> value under the run's protocol; empty when unscored."""


class ModelAnswers(NamedTuple):
    """All answers of one model of a run: what a file is written from."""

    model: str
    """Run and model, `phantom-mmedpo-tuned`."""
    dataset: str
    """Registered name of the dataset."""
    protocol: str
    """The protocol of the values."""
    created: str
    """When the run was made, ISO 8601."""
    answers: Sequence[AnsweredQuestion]
    """In the order of the data."""


class AnswerFormat(Protocol):
    """A registered layout: `@register("answer-format", NAME)` on a class without constructor arguments."""

    columns: ClassVar[frozenset[str]]
    """Columns by which a row of it is told: all of them are there."""

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """Reads one row.

        Raises:
            BadAnswer: it holds no answer.
        """
        ...

    @optional
    def rows(self, whole: Mapping[str, Any]) -> Sequence[Any] | None:
        """The rows of a file that is one object with several lists; None where the object is no such file."""
        ...

    @optional
    def read(self, path: Path) -> Sequence[RawRow]:
        """The rows of a file that no reader of tables knows; told by its suffix, the attribute `suffix`.

        Raises:
            EvaluationError: it cannot be read.
        """
        ...

    @optional
    def write(self, own: ModelAnswers, folder: Path) -> Path:
        """Writes one file, named as the program of the layout names it; `parse` reads the same answers back.

        Raises:
            EvaluationError: an answer that the layout cannot hold.
        """
        ...


def file_name(*parts: str) -> str:
    """The parts joined by underscores, without what a file name cannot hold everywhere."""
    return "_".join(re.sub(r"[^A-Za-z0-9.-]+", "-", part).strip("-.") or "unnamed" for part in parts)


def answer_of(row: Mapping[str, Any], column: str) -> str:
    """The answer in a column: text, or a list that holds one text.

    Raises:
        BadAnswer: no such column, or something else in it.
    """
    if column not in row:
        raise BadAnswer(f"no column {column!r}")
    value = row[column]
    while isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise BadAnswer(f"{column!r} holds {shown(value)}, expected is one text")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadAnswer(f"{column!r} holds {value}, expected is one text")
    return str(value).strip()


def told(row: Mapping[str, Any], *columns: str) -> str:
    """The first of these columns that holds a text or a number; empty where none does.

    A number that pandas made a float because another row has none is the whole number that it was.
    """
    for column in columns:
        value = row.get(column)
        if isinstance(value, float):
            value = (int(value) if value.is_integer() else value) if math.isfinite(value) else None
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""
