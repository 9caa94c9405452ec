"""What a preference format is, and what every one of them needs to read and write a row.

A format turns one raw row (a mapping, as JSON, JSONL or Parquet holds it) into a `PreferenceRow` and
back. It repairs nothing: identical or empty sides are read as they are, so that `mmedpo lint` sees them.
Only what cannot be a preference at all (no answers, no text, sides that ask different questions) is
refused with a countable reason.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from mmedpo.records import Message, Part, PreferenceRow

PLACEHOLDER = "<image>"
"""Where an image stands in the formats that spell messages as plain text."""
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

_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a surrogate pair: JSON can spell it, no file can hold it."""
_ROLES: dict[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}

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
        """Reads one row; `row_id`, `source` and `source_row` are set by the caller.

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
        BadRow: anything else, or text that no file could hold.
    """
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadRow("malformed-row", f"{what} holds half of a surrogate pair")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadRow("malformed-row", f"{what} is {_short(value)}, expected is text")
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


def score_of(value: object, name: str) -> tuple[float | None, str]:
    """(score in [0, 1], "") or (None, why there is none)."""
    if value is None:
        return None, f"the row has no {name}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None, f"{name} {value!r:.40} is not a number"
    if not 0 <= value <= 1:  # refuses NaN as well
        return None, f"{name} {value!r:.40} lies outside [0, 1]"
    return float(value), ""


def mapping_of(value: object, what: str) -> Mapping[str, Any]:
    """An object.

    Raises:
        BadRow: anything else.
    """
    if not isinstance(value, Mapping):
        raise BadRow("malformed-row", f"{what} is {_short(value)}, expected is an object")
    return value


def parts_of(text: str) -> tuple[Part, ...]:
    """Plain text with placeholders to parts; the one line break beside a placeholder belongs to the layout."""
    parts: list[Part] = []
    for index, piece in enumerate(text.split(PLACEHOLDER)):
        if index:
            parts.append(Part(type="image"))
            piece = piece.removeprefix("\n")
        if piece and index < text.count(PLACEHOLDER):
            piece = piece.removesuffix("\n")
        if piece:
            parts.append(Part(type="text", text=piece))
    return tuple(parts)


def plain_of(parts: Sequence[Part]) -> str:
    """Parts to plain text with placeholders, `<image>` on a line of its own."""
    text = ""
    for index, part in enumerate(parts):
        neighbours = index and "image" in (part.type, parts[index - 1].type) and part.type != parts[index - 1].type
        text += ("\n" if neighbours else "") + (PLACEHOLDER if part.type == "image" else part.text or "")
    return text


def turns_of(value: object, what: str, role_key: str = "from", text_key: str = "value") -> tuple[Message, ...]:
    """A list of `{from, value}` (or other keys) to messages; text may hold placeholders, content may be typed.

    Raises:
        BadRow: not a list of turns, or an unknown role.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise BadRow("malformed-row", f"{what} is {_short(value)}, expected is a list of turns")
    turns = []
    for number, raw in enumerate(value):
        turn = mapping_of(raw, f"{what} turn {number}")
        turns.append(_turn(turn, f"{what} turn {number}", role_key, text_key))
    return tuple(turns)


def answer_of(value: object, what: str, role_key: str = "role", text_key: str = "content") -> tuple[Message, ...]:
    """One answer: plain text, one turn, or a list of turns.

    Raises:
        BadRow: it is none of these.
    """
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return turns_of(value, what, role_key, text_key)
    return (assistant(text_of(value, what)),)


def assistant(text: str) -> Message:
    """An answer as a message."""
    return Message(role="assistant", content=parts_of(text))


def user(parts: Sequence[Part]) -> Message:
    """A question as a message."""
    return Message(role="user", content=tuple(parts))


def split_answer(turns: Sequence[Message], what: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """(turns before the answer, the answer) of a whole conversation.

    Raises:
        BadRow: the last turn is not an answer, or nothing is asked before it.
    """
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role == "assistant":
        raise BadRow("malformed-row", f"{what} must end in a question and one answer")
    return tuple(turns[:-1]), (turns[-1],)


def require_same_prompt(chosen: Sequence[Message], rejected: Sequence[Message]) -> None:
    """Raises `BadRow` when the two sides answer different questions (case and spacing ignored)."""
    if [(turn.role, folded(turn.text)) for turn in chosen] != [(turn.role, folded(turn.text)) for turn in rejected]:
        raise BadRow("questions-differ", f"{chosen[-1].text!r:.120} against {rejected[-1].text!r:.120}")
    if [turn.images for turn in chosen] != [turn.images for turn in rejected]:
        raise BadRow("image-placeholder-missing", "the two sides hold different numbers of image placeholders")


def paths_of(value: object, what: str, keep_image: KeepImage) -> tuple[str, ...]:
    """Images of a side: a path, `{bytes, path}`, or a list of these; None is no image.

    Raises:
        BadRow: anything else.
    """
    if value is None:
        return ()
    if isinstance(value, (str, Mapping)):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise BadRow("malformed-row", f"{what} is {_short(value)}, expected is a path or a list of paths")
    return tuple(_path_of(item, what, keep_image) for item in value)


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
        if key not in known and key != CARRIED and value is not None and isinstance(key, str):
            try:
                text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                continue
            if not _SURROGATE.search(key + text) and len(text) < 100_000:
                rest[key] = json.loads(text)
    return json.dumps(rest, sort_keys=True) if rest else ""


def _turn(turn: Mapping[str, Any], what: str, role_key: str, text_key: str) -> Message:
    role = turn.get(role_key)
    if not isinstance(role, str) or role not in _ROLES:
        raise BadRow("malformed-row", f"{what} is spoken by {_short(role)}, known are {', '.join(_ROLES)}")
    content = turn.get(text_key)
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        parts = tuple(part for item in content for part in _typed(item, what))
    else:
        parts = parts_of(text_of(content, what))
    return Message(role=_ROLES[role], content=parts)


def _typed(item: object, what: str) -> tuple[Part, ...]:
    piece = mapping_of(item, f"{what} content")
    kind = piece.get("type")
    if kind in ("image", "image_url"):
        return (Part(type="image"),)
    if kind == "text":
        return (Part(type="text", text=text_of(piece.get("text"), f"{what} content")),)
    raise BadRow("malformed-row", f"{what} content has the type {_short(kind)}, known are image and text")


def _path_of(item: object, what: str, keep_image: KeepImage) -> str:
    if isinstance(item, Mapping):
        content = item.get("bytes")
        if isinstance(content, bytes) and content:
            return keep_image(content)
        item = item.get("path")
    if not isinstance(item, str) or not item or _SURROGATE.search(item):
        raise BadRow("malformed-row", f"{what} is {_short(item)}, expected is a path")
    return item


def _short(value: object) -> str:
    text = f"{value!r:.60}" if isinstance(value, (str, int, float, bool, type(None))) else f"a {type(value).__name__}"
    return text.encode("utf-8", "backslashreplace").decode()
