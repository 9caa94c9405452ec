"""Reads files of answers, and the question files their ids belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmedpo.errors import EvaluationError, listed, shown
from mmedpo.evaluate.given import AnswerFormat, BadAnswer, GivenAnswer, told
from mmedpo.registry import lookup, names
from mmedpo.storage.raw import RawRow
from mmedpo.storage.rows import all_rows


def read_answers(path: Path, format_name: str = "") -> list[GivenAnswer]:
    """Every answer of a file, in its order.

    Args:
        path: a file that `storage.rows` reads.
        format_name: registered layout; empty to tell it from the columns of the first row.

    Raises:
        EvaluationError: unreadable, of no known layout, or with a row that holds no answer: leaving it out would
            change which questions are scored.
        ConfigError: unknown layout.
    """
    rows = _rows(path)
    layout: AnswerFormat | None = lookup("answer-format", format_name)() if format_name else None
    answers: list[GivenAnswer] = []
    bad: list[str] = []
    for row in rows:
        if row.fault or not isinstance(row.value, Mapping):
            bad.append(f"row {row.number}: {row.fault or 'no object'}")
            continue
        # A model that says nothing leaves an empty cell.
        value = {**dict.fromkeys(row.columns, ""), **row.value}
        layout = layout or _told_by(path, value)
        try:
            answers.append(layout.parse(value))
        except BadAnswer as problem:
            bad.append(f"row {row.number}: {problem}")
    if bad:
        named = listed(bad, between="; ")
        raise EvaluationError(f"{path}: {len(bad)} of {len(rows)} rows hold no answer: {named}; mend the file")
    return answers


def read_questions(path: Path) -> dict[str, GivenAnswer]:
    """What a question file of LLaVA-Med (`question_id, image, text`) says of every id, as answers without a text.

    Raises:
        EvaluationError: unreadable, a row without id or text, or an id that stands twice.
    """
    found: dict[str, GivenAnswer] = {}
    for row in all_rows(path, EvaluationError, "questions"):
        value: Mapping[str, Any] = row.value if isinstance(row.value, Mapping) else {}
        name = told(value, "question_id", "id", "qid")
        text = told(value, "text", "question").replace("<image>", "").strip()
        if not name or not text:
            why = row.fault or "it has no question_id or no text"
            raise EvaluationError(f"{path}: row {row.number} is no question ({why}); mend the file")
        if name in found:
            raise EvaluationError(f"{path}: the id {shown(name)} stands twice; ids must be unique")
        found[name] = GivenAnswer(
            "", id=name, question=text, image=told(value, "image"), truth=told(value, "answer", "gpt4_answer")
        )
    return found


def _rows(path: Path) -> list[RawRow]:
    """The rows of a file, by the layout that reads files of this suffix, else by the reader of tables."""
    for layout in _layouts().values():
        if path.suffix and getattr(layout, "suffix", "") == path.suffix.lower():
            rows = list(layout.read(path))
            if not rows:
                raise EvaluationError(f"{path} holds no row, expected is a list of answers; check the file")
            return rows
    return _listed(all_rows(path, EvaluationError, "answers"))


def _listed(rows: list[RawRow]) -> list[RawRow]:
    """The rows themselves, or those a layout finds in a file that is one object."""
    whole = rows[0].value
    if len(rows) > 1 or not isinstance(whole, Mapping):
        return rows
    for layout in _layouts().values():
        found = layout.rows(whole) if hasattr(layout, "rows") else None
        if found is not None:
            return [RawRow(number, value) for number, value in enumerate(found)]
    return rows


def _layouts() -> dict[str, AnswerFormat]:
    return {name: lookup("answer-format", name)() for name in names("answer-format")}


def _told_by(path: Path, row: Mapping[str, Any]) -> AnswerFormat:
    """The layout whose columns the row has; the one with most of them where several fit.

    Raises:
        EvaluationError: none fits.
    """
    known = _layouts()
    fitting = [layout for layout in known.values() if layout.columns <= row.keys()]
    if not fitting:
        has = ", ".join(shown(column) for column in list(row)[:8])
        asked = "; ".join(f"{name}: {', '.join(sorted(layout.columns))}" for name, layout in known.items())
        raise EvaluationError(f"{path} is of no known layout; its columns are {has}, known are {asked}")
    return max(fitting, key=lambda layout: len(layout.columns))
