"""Names of splits, as people spell them: in file names, columns and keys. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SPELLED = {
    **dict.fromkeys(("train", "training", "trainval", "trn"), "train"),
    **dict.fromkeys(
        ("validation", "validate", "valid", "val", "dev", "development", "eval", "evaluation"), "validation"
    ),
    **dict.fromkeys(("test", "testing", "tst", "holdout", "heldout", "held-out", "held_out"), "test"),
}
_HELD_FIRST = ("test", "validation", "train")
_WORD = re.compile(
    r"(?:(?<![A-Za-z])|(?<=[a-z])(?=[A-Z]))"  # at a word's beginning, also in camelCase
    r"(?i:train(?:ing|val)?|validat(?:ion|e)|valid|val|dev|eval|test(?:ing)?|held[_-]?out|holdout)"
    r"(?![a-z])"
)


_COLUMNS = ("split", "splits", "subset", "partition", "set", "fold", "data_split", "dataset_split", "phase")
_WITH_SPLIT = ("phrase_type",)
"""Columns whose values hold more than the split: VQA-RAD's `test_freeform`."""


def split_told(cells: Mapping[Any, Any]) -> str:
    """The split that a row tells in a column nobody mapped; empty where none does."""
    for key, value in cells.items():
        name = key.strip().casefold() if isinstance(key, str) and isinstance(value, str) else ""
        told = split_named(value) if name in _COLUMNS else split_in(value) if name in _WITH_SPLIT else ""
        if told:
            return told
    return ""


def official_name(split: str) -> str:
    """`val`, `validate`, `valid`, `dev` to `validation`; names of no known split as they are, in small letters."""
    plain = split.strip().casefold()
    return _SPELLED.get(plain, plain)


def spellings(split: str) -> tuple[str, ...]:
    """Every spelling of a split's name, its own first."""
    return (split, *(spelled for spelled, name in _SPELLED.items() if name == split and spelled != split))


def split_named(text: str) -> str:
    """The split that a whole name is, e.g. a key or a cell; empty for any other name."""
    return _SPELLED.get(text.strip().casefold(), "")


def split_in(text: str) -> str:
    """The split that a file's or folder's name tells: `VQA_test_clean.jsonl` is test, `latest.csv` none.

    Of several the held-out one is meant: a model must not train on what might be its test.
    """
    told = {_SPELLED[found.group().casefold()] for found in _WORD.finditer(text)}
    return next((split for split in _HELD_FIRST if split in told), "")
