"""Lists that a cell of text spells, as tables without lists of their own hold them. Pure."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

_LONGEST = 1 << 26
"""Characters of a cell that is parsed: a few images in base64."""
_ENDS = {"[": "]", "(": ")", "{": "}"}


def spelled(text: str) -> object | None:
    """What a text in brackets spells in JSON or Python; None where it spells nothing."""
    plain = text.strip()
    if plain[:1] not in _ENDS or plain[-1:] != _ENDS[plain[0]] or len(plain) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            found: object = parse(plain)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found
    return None


def parted(text: str, separators: Sequence[str]) -> list[str]:
    """The parts of a text by the first separator that it holds; empty where it holds none."""
    separator = next((separator for separator in separators if separator in text), "")
    return [part for piece in text.split(separator) if (part := piece.strip())] if separator else []
