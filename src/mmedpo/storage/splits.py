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
    r"(?P<split>(?i:train(?:ing|val)?|validat(?:ion|e)|valid|val|dev|eval|test(?:ing)?|held[_-]?out|holdout))"
    r"(?:[Ss]et|SET)?(?![a-z])"  # also "testset"
)


_LONGEST_TOLD = 80
"""Characters of a value that tells a split."""
_COLUMNS = ("split", "splits", "subset", "partition", "set", "fold", "data_split", "dataset_split", "phase")
_WITH_SPLIT = re.compile(
    r"phrase_type|(?:.*[^a-z])?(?:splits?|subset|partition|phase|usage|data_?set|source)(?![a-z]).*"
)
"""Columns whose values may hold more than the split: VQA-RAD's `test_freeform`, `official/test`."""
_SURE = frozenset(
    ["train", "training", "test", "testing", "validation", "val", "dev", "holdout", "held-out", "held_out"]
)
"""Names of splits that in any column are one; "valid" may be what somebody says of a row."""
_TEXTS = frozenset(["question", "answer", "prompt", "query", "response", "chosen", "rejected", "caption", "report"])
"""Columns of what is asked and said."""
_FLAG = re.compile(r"(?:(is|in|for)_)?([a-z_-]+)")
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def split_told(cells: Mapping[Any, Any]) -> str:
    """The split that a row tells in a column nobody mapped; empty where none does.

    By the column's name (`subset: VQA_RAD_test`), by a value that is nothing but the name of a split (`mode: test`),
    or by a flag (`is_test: true`, `train: false`).
    """
    told = {split for key, value in cells.items() if isinstance(key, str) and (split := _told(key, value))}
    return next((split for split in _HELD_FIRST if split in told), "")


def _told(key: str, value: object) -> str:
    name = key.strip().casefold()
    if name in _TEXTS:
        return ""
    flag = _FLAG.fullmatch(name)
    split = split_named(flag[2]) if flag and flag[2] in _SURE else ""
    if flag and split and (isinstance(value, bool) or flag[1] or str(value).casefold() in ("true", "false")):
        said = str(value).strip().casefold()
        return split if said in _TRUE else "test" if split == "train" and said in _FALSE else ""
    if not isinstance(value, str) or len(value) > _LONGEST_TOLD:
        return ""
    if name in _COLUMNS or value.strip().casefold() in _SURE:
        return split_named(value) or (split_in(value) if _WITH_SPLIT.fullmatch(name) else "")
    return split_in(value) if _WITH_SPLIT.fullmatch(name) else ""


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
    told = {_SPELLED[found["split"].casefold()] for found in _WORD.finditer(text)}
    return next((split for split in _HELD_FIRST if split in told), "")
