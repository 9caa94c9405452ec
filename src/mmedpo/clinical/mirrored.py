"""What an answer becomes when the image is mirrored: left is right. Pure."""

from __future__ import annotations

import re

from mmedpo.clinical.lexicon import find_terms

_SIDE = re.compile(r"\b(left|right)\b", re.IGNORECASE)
_SIGNS = str.maketrans("左右", "右左")
"""Left and right in Chinese."""


def turned(text: str) -> str:
    """The text with left and right exchanged, in the letters it had."""

    def other(found: re.Match[str]) -> str:
        side = found[0]
        word = "right" if side.lower() == "left" else "left"
        return word.upper() if side.isupper() else word.capitalize() if side[0].isupper() else word

    return _SIDE.sub(other, text).translate(_SIGNS)


def sides_said(text: str) -> frozenset[str]:
    """Subset of {left, right}: the sides that a text names in these words."""
    words = {side.lower() for side in _SIDE.findall(text)}
    return frozenset(words | {name for sign, name in (("左", "left"), ("右", "right")) if sign in text})


def turns(question: str, answer: str) -> bool:
    """Whether the answer, and nothing but its side, is another one on the mirrored image.

    It names one side, and the question none or both: "Is it on the left?" is not turned, for what is on both sides
    stays. And it says where something is, not what: a finding that it names is no matter of the mirror.
    """
    if len(sides_said(answer)) != 1 or len(sides_said(question)) == 1:
        return False
    return not any(match.term.kind == "finding" for match in find_terms(answer))
