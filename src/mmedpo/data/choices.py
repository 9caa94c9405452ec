"""The alternatives of a multiple-choice question, as tables spell them: kept, or refused; never ignored. Pure."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence

from mmedpo.data.dataset import as_text
from mmedpo.errors import shown

_OPTION = re.compile(r"(?:(?:choice|option|opt|op)s?[ _-]?)?\(?([A-Z])\)?|(?:choice|option|opt)s?[ _-]?(\d)", re.I)
"""Names of columns that hold one alternative each: `A`, `Choice A`, `option_a`, `opa`, `option1`, `option_0`."""
LISTS = ("choices", "options", "alternatives", "answer_choices")
"""Names of columns that hold all alternatives of a question."""
_ORDERS = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "123456789")
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:)]?")
_PREFIX = re.compile(r"\s*\(?([A-Za-z])\)?\s*[.:)]\s*")
_SEPARATORS = (";", "|", "\n")
_LONGEST_LIST = 20_000
"""Characters of a cell that is parsed as a list."""


class BadChoices(Exception):
    """A cell that should hold alternatives and does not; the message says what it holds."""


def option_columns(names: Sequence[str]) -> list[str]:
    """The columns that hold one alternative each, in the order of their letters or digits, which leave none out."""
    found: dict[str, str] = {}
    for name in names:
        match = _OPTION.fullmatch(name.strip())
        if match:
            found.setdefault((match.group(1) or match.group(2)).upper(), name)
    for order in _ORDERS:
        held = [mark for mark in order if mark in found]
        if len(held) > 1 and order.startswith("".join(held)):
            return [found[mark] for mark in held]
    return []


def choices_of(value: object) -> tuple[str, ...]:
    """The alternatives in one cell: a list, an object of them by letter, or a text that spells one.

    Texts may be a list in JSON or Python, or separated by `;`, `|` or line breaks.

    Raises:
        BadChoices: it holds fewer than two.
    """
    if isinstance(value, str):
        value = _spelled(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    found = [as_text(item) for item in value] if isinstance(value, (list, tuple)) else []
    if len(found) < 2 or not all(found):
        raise BadChoices(f"{shown(value)} is no list of two or more alternatives")
    return without_letters([text for text in found if text])


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Alternatives without the letters before them, where each has the letter of its place (`A: CT`, `(B) MRI`)."""
    plain = [option.strip() for option in options]
    heads = [_PREFIX.match(option) for option in plain]
    letters = [head.group(1).upper() if head else "" for head in heads]
    if letters == [chr(ord("A") + place) for place in range(len(plain))]:
        return tuple(option[head.end() :].strip() for option, head in zip(plain, heads, strict=True) if head)
    return tuple(plain)


def chosen(answer: str, options: Sequence[str]) -> str:
    """The alternative that an answer means: by its text, or by its letter; empty when it is none of them."""
    plain = _folded(answer)
    for option in options:
        if _folded(option) == plain:
            return option
    letter = _LETTER.fullmatch(answer.strip())
    if letter:
        place = ord(letter.group(1).upper()) - ord("A")
        return options[place] if place < len(options) else ""
    bare = _folded(_PREFIX.sub("", answer, count=1))
    return next((option for option in options if _folded(option) == bare), "")


def _spelled(text: str) -> object:
    plain = text.strip()
    if plain[:1] in ("[", "(", "{") and len(plain) <= _LONGEST_LIST:
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(plain)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    for separator in _SEPARATORS:
        if separator in plain:
            return [part.strip() for part in plain.split(separator) if part.strip()]
    return text


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
