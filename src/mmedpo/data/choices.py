"""The alternatives of a multiple-choice question, as tables spell them: kept, or refused; never ignored. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmedpo.data.dataset import as_text
from mmedpo.errors import shown
from mmedpo.storage.cells import parted, spelled

_OPTION = re.compile(r"(?:(?:choice|option|opt|op)s?[ _-]?)?\(?([A-Z])\)?|(?:choice|option|opt)s?[ _-]?(\d)", re.I)
"""Names of columns that hold one alternative each: `A`, `Choice A`, `option_a`, `opa`, `option1`, `option_0`."""
LISTS = ("choices", "options", "alternatives", "answer_choices")
"""Names of columns that hold all alternatives of a question."""
_ORDERS = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "123456789")
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.:)]?")
_PREFIX = re.compile(r"\s*\(?([A-Za-z])\)?\s*[.:)]\s*")
_SEPARATORS = (";", "|", "\n")
_TEXTS = ("text", "texts", "content", "value", "option", "choice")
_LABELS = ("label", "labels", "letter", "key", "id", "option_id")
"""Keys under which an object holds what alternatives say, and the letters they are known by."""


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


class Alternatives(NamedTuple):
    """What a question lets choose from; false where it is no multiple-choice question."""

    texts: tuple[str, ...] = ()
    letters: str = ""
    """The letter of each, as the table has it: an alternative that is left empty takes its letter with it."""

    def __bool__(self) -> bool:
        return bool(self.texts)

    def meant(self, answer: str) -> str:
        """The alternative that an answer means: by its text, or by its letter; empty when it is none of them."""
        folded = [_folded(text) for text in self.texts]
        if _folded(answer) in folded:
            return self.texts[folded.index(_folded(answer))]
        letter = _LETTER.fullmatch(answer.strip())
        if letter:
            place = self.letters.find(letter.group(1).upper())
            return self.texts[place] if place >= 0 else ""
        bare = _folded(_PREFIX.sub("", answer, count=1))
        return self.texts[folded.index(bare)] if bare in folded else ""


def choices_of(value: object) -> Alternatives:
    """The alternatives in one cell: a list, an object of them by letter or beside their labels, or a text that
    spells one.

    Texts may be a list in JSON or Python, or separated by `;`, `|` or line breaks.

    Raises:
        BadChoices: it holds fewer than two.
    """
    told = value
    if isinstance(value, str):
        told = spelled(value) or parted(value.strip(), _SEPARATORS) or value
    labels: object = None
    if isinstance(told, Mapping):
        said = _of(told, _TEXTS)
        beside = isinstance(said, (list, tuple))
        labels, told = (_of(told, _LABELS), said) if beside else (list(told), list(told.values()))
    held = list(told) if isinstance(told, (list, tuple)) else []
    if labels is None and held and all(isinstance(item, Mapping) for item in held):
        labels = [_of(item, _LABELS) for item in held]
    found = [as_text(_of(item, _TEXTS) if isinstance(item, Mapping) else item) for item in held]
    if len(found) < 2 or not all(found):
        raise BadChoices(f"{shown(value)} is no list of two or more alternatives")
    texts = [text for text in found if text]
    given = [str(label).strip().upper() for label in labels] if isinstance(labels, (list, tuple)) else []
    marked = len(given) == len(texts) == len(set(given)) and all(len(label) == 1 for label in given)
    letters = "".join(given)
    return lettered(letters if marked and letters.isalpha() else _ORDERS[0][: len(texts)], texts)


def lettered(letters: str, texts: Sequence[str]) -> Alternatives:
    """Alternatives under their letters; those before the texts themselves (`A: CT`, `(B) MRI`) are taken off.

    Texts that begin with other letters than the first ones keep them: `E. coli`.
    """
    plain = [text.strip() for text in texts]
    heads = [head for text in plain if (head := _PREFIX.match(text))]
    own = "".join(head.group(1).upper() for head in heads)
    if sorted(own) == list(_ORDERS[0][: len(plain)]) or (own == letters and len(own) == len(plain)):
        return Alternatives(tuple(text[head.end() :].strip() for text, head in zip(plain, heads, strict=True)), own)
    return Alternatives(tuple(plain), letters)


def _of(holder: Mapping[Any, Any], keys: Sequence[str]) -> object:
    """What an object holds under the first of these keys; None where it has none."""
    return next((holder[key] for key in keys if holder.get(key) is not None), None)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
