"""What a preference format is, and what every one of them needs to read and write a row.

A format turns one raw row (a mapping, as JSON, JSONL or Parquet holds it) into a `PreferenceRow` and
back. It repairs nothing: identical or empty sides are read as they are, so that `mmedpo lint` sees them.
Only what cannot be a preference at all (no answers, no text, sides that ask different questions) is
refused with a countable reason. Turns and their images: `turns.py`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from mmedpo.errors import shown
from mmedpo.records import Message, PreferenceRow
from mmedpo.storage.bounds import LONGEST_TEXT, MOST_PARTS
from mmedpo.storage.embedded import BadImage, image_of, images_of

CARRIED = "mmedpo"
"""Key under which a written row carries what its format has no column for."""

CARRIED_FIELDS = (
    "row_id",
    "image_hashes",
    "rejected_image_hashes",
    "score",
    "unscored_reason",
    "weight",
    "example_id",
    "dataset",
    "split",
    "origin",
    "extra",
)
"""What travels there."""

WEIGHTED = "weighted_score"
"""The column in which MMedPO's files weigh a row; read in any layout."""
NO_SCORE = "the row has no score"
"""Why there is none in layouts that have no column for it."""

IMAGE_COLUMNS = ("images", "image", "image_paths", "image_path", "image_files", "image_file", "img_path", "img")
"""Columns that name or hold the images of a row, in the order they are asked."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a surrogate pair: JSON can spell it, no file can hold it."""
_LONGEST_EXTRA = 100_000
"""Characters of a foreign column that travel with a row."""

KeepImage = Callable[[bytes], str]
"""Takes the bytes of an image that lies inside the file; gives the relative path it can be read from."""


class BadRow(Exception):
    """A raw row that is no preference; `reason` is countable."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class PreferenceFormat(Protocol):
    """A registered layout: `@register("preference-format", NAME)` on a class without constructor arguments."""

    name: ClassVar[str]
    """Registered name."""
    suffixes: ClassVar[tuple[str, ...]]
    """Files it is read from; the first is the one it is written to."""
    unread: ClassVar[tuple[str, ...]]
    """Fields of `PreferenceRow` that programs reading this format ignore (they travel under `mmedpo`)."""
    pair_types: ClassVar[tuple[str, ...]]
    """Pair types it can hold; rows of another type are left out and listed."""
    most_images: ClassVar[int | None]
    """Images per side it can hold; None for any number."""
    embeds: ClassVar[bool]
    """True when the written file holds the images themselves."""

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """True when a row with these columns is of this format."""
        ...

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row; `row_id`, `source` and `source_row` are set by the caller, as is a `weighted_score`.

        Raises:
            BadRow: it is no preference.
        """
        ...

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row in the format's own columns; images are relative paths.

        Raises:
            BadRow: the format cannot hold this row.
        """
        ...


def text_of(value: object, what: str) -> str:
    """A text, verbatim; numbers become text (released files hold integer answers).

    Raises:
        BadRow: anything else, text that no file could hold, or longer text than anybody reads.
    """
    if isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            raise BadRow("malformed-row", f"{what} has {len(value):,} characters, allowed are {LONGEST_TEXT:,}")
        if _SURROGATE.search(value):
            raise BadRow("malformed-row", f"{what} holds half of a surrogate pair")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRow("malformed-row", f"{what} is {glimpse(value)}, expected is text")
    return str(value)


def number_of(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def score_of(raw: Mapping[str, Any], name: str) -> tuple[float | None, str]:
    """(score in [0, 1], "") or (None, why there is none): a countable reason, and the value in brackets."""
    if name not in raw:
        return None, f"the row has no {name}"
    value = raw[name]
    if value is None:
        return None, f"{name} is null, so the row has no {name}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        met = "text" if isinstance(value, str) else "true or false" if isinstance(value, bool) else "a structure"
        return None, f"{name} is {met}, not a number ({glimpse(value)})"
    number = number_of(value)
    if number is None:
        return None, f"{name} is not finite, so outside [0, 1] ({glimpse(value)})"
    return (number, "") if 0 <= number <= 1 else (None, f"{name} lies outside [0, 1] ({glimpse(value)})")


def bound(count: int, what: str) -> None:
    """Raises `BadRow` for more items than any row has: each costs a kilobyte as a record."""
    if count > MOST_PARTS:
        raise BadRow("malformed-row", f"{what}: {count:,}, allowed are {MOST_PARTS:,}")


def mapping_of(value: object, what: str) -> Mapping[str, Any]:
    """An object.

    Raises:
        BadRow: anything else.
    """
    if not isinstance(value, Mapping):
        raise BadRow("malformed-row", f"{what} is {glimpse(value)}, expected is an object")
    return value


def paths_of(value: object, what: str, keep_image: KeepImage) -> tuple[str, ...]:
    """Images of a side: a path, bytes, base64, an object around one of these, or a list of them; None is no image.

    Raises:
        BadRow: anything else.
    """
    try:
        return tuple(item if isinstance(item, str) else keep_image(item) for item in images_of(value))
    except BadImage as bad:
        raise BadRow("malformed-row", f"{what} holds {bad}") from None


def image_column(raw: Mapping[str, Any]) -> str:
    """The first column that names an image; the usual one where none does."""
    return next((column for column in IMAGE_COLUMNS if raw.get(column)), IMAGE_COLUMNS[0])


def path_of(value: object, what: str, keep_image: KeepImage) -> str:
    """As `paths_of`, for exactly one image.

    Raises:
        BadRow: it is none.
    """
    try:
        found = image_of(value)
    except BadImage as bad:
        raise BadRow("malformed-row", f"{what} holds {bad}") from None
    return found if isinstance(found, str) else keep_image(found)


def folded(text: str) -> str:
    """Text without case and with single blanks, for comparing."""
    return " ".join(text.casefold().split())


def pair_type_of(chosen: Sequence[Message], rejected: Sequence[Message], rejected_images: Sequence[str]) -> Any:
    """`text`, `visual` or `both`, from what differs between the sides."""
    if not rejected_images:
        return "text"
    same = [turn.text for turn in chosen] == [turn.text for turn in rejected]
    return "visual" if same else "both"


def extra_of(raw: Mapping[str, Any], known: set[str]) -> str:
    """The columns of a raw row that the format does not know, as JSON; what JSON cannot hold is left out."""
    rest = {}
    for key, value in raw.items():
        if key not in known and key not in (CARRIED, WEIGHTED) and value is not None and isinstance(key, str):
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                continue
            if not _SURROGATE.search(key + text) and len(text) < _LONGEST_EXTRA:
                rest[key] = json.loads(text)
    return json.dumps(rest, sort_keys=True) if rest else ""


def glimpse(value: object) -> str:
    """A value in a message: plain ones as they are, shortened; of all others the type."""
    return shown(value) if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
