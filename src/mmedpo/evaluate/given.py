"""What a layout of an answer file is, and what it reads a row into."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

from mmedpo.errors import shown


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
    """The first of these columns that holds a text or a number; empty where none does."""
    for column in columns:
        value = row.get(column)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""
