"""Turns of a conversation in any spelling, and the images at their places.

An image has a place in a text (`<image>`, or a typed part) and a name: in the column of images, in the order of
the places, or in the part itself (`{"type": "image", "image": "a.png"}`, `{"type": "image_url", ...}`). Both are
kept: an `Album` collects what the parts of one side name, and joins it with the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmedpo.preferences.layout import BadRow, KeepImage, folded, glimpse, mapping_of, path_of, text_of
from mmedpo.records import IMAGE_PLACE, Message, Part
from mmedpo.storage.speakers import KNOWN, role_of

PLACEHOLDER = IMAGE_PLACE
"""Where an image stands in the formats that spell messages as plain text."""

_PLACE = re.compile(re.escape(PLACEHOLDER) + "()")
_ANY_PLACE = re.compile(re.escape(PLACEHOLDER) + r"|<img>([^<>\n]+)</img>")

_IMAGE_TYPES = ("image", "image_url", "input_image")
_TEXT_TYPES = ("text", "input_text", "output_text")
_ROLE_KEYS = ("role", "from")
_CONTENT_KEYS = ("content", "value")
_IMAGE_KEYS = ("image", "image_url", "url", "path", "bytes", "base64", "data", "source", "file", "file_path")
_ASIDE = frozenset(
    ["type", "text", "index", "detail", "min_pixels", "max_pixels", "resized_height", "resized_width", "cache_control",
     "media_type", "mime_type"]
)  # fmt: skip
"""What a typed part may say beside its image without naming one."""


class Album:
    """The images that one side of a row names at their places."""

    def __init__(self, keep_image: KeepImage) -> None:
        self.keep_image = keep_image
        self.places: list[str | None] = []
        """For every place in order the image it names itself, or None."""

    def place(self, value: object, what: str) -> Part:
        """One more place, for the image that `value` names (None: it names none)."""
        self.places.append(None if value is None else path_of(value, what, self.keep_image))
        return Part(type="image")

    @property
    def own(self) -> tuple[str, ...]:
        """The images that places name themselves."""
        return tuple(name for name in self.places if name is not None)

    def images(self, column: Sequence[str]) -> tuple[str, ...]:
        """The images of the side in the order of their places: those named there, the others from the column.

        Raises:
            BadRow: a place before a named image has none.
        """
        if not self.own or self.own == tuple(column) or self._repeats(column):
            return tuple(column)
        left = list(column)
        found: list[str] = []
        for name in self.places:
            if name is None and not left:
                raise BadRow("image-missing", "an image place names no image, and no column does")
            found.append(left.pop(0) if name is None else name)
        return (*found, *(name for name in left if name not in found))

    def _repeats(self, column: Sequence[str]) -> bool:
        """True when the column has an image for every place, those named there included."""
        same = len(column) == len(self.places)
        return same and all(name in (None, other) for name, other in zip(self.places, column, strict=True))


def parts_of(text: str, album: Album | None = None) -> tuple[Part, ...]:
    """Plain text with placeholders to parts; the one line break beside a placeholder belongs to the layout.

    With an album `<img>a.png</img>`, the earlier spelling of ms-swift and Qwen-VL, is a place that names its image.
    """
    parts: list[Part] = []
    pieces = (_PLACE if album is None else _ANY_PLACE).split(text)
    for index in range(0, len(pieces), 2):
        piece = pieces[index]
        if index:
            parts.append(Part(type="image") if album is None else album.place(pieces[index - 1] or None, "<img>"))
            piece = piece.removeprefix("\n")
        if piece and index + 1 < len(pieces):
            piece = piece.removesuffix("\n")
        if piece:
            parts.append(Part(type="text", text=piece))
    return tuple(parts)


def plain_of(parts: Sequence[Part]) -> str:
    """Parts to plain text with placeholders, `<image>` on a line of its own.

    Raises:
        BadRow: a text holds the placeholder itself, which would become the place of an image.
    """
    text = ""
    for index, part in enumerate(parts):
        if PLACEHOLDER in (part.text or ""):
            raise BadRow("placeholder-in-text", f"a text holds {PLACEHOLDER!r}, which would be read as an image")
        neighbours = index and "image" in (part.type, parts[index - 1].type) and part.type != parts[index - 1].type
        text += ("\n" if neighbours else "") + (PLACEHOLDER if part.type == "image" else part.text or "")
    return text


def turns_of(value: object, what: str, album: Album) -> tuple[Message, ...]:
    """A list of `{from, value}` or `{role, content}` to messages; text may hold placeholders, content may be typed.

    Raises:
        BadRow: not a list of turns, or an unknown role.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise BadRow("malformed-row", f"{what} is {glimpse(value)}, expected is a list of turns")
    return tuple(_turn(mapping_of(raw, f"{what} turn {n}"), f"{what} turn {n}", album) for n, raw in enumerate(value))


def answer_of(value: object, what: str, album: Album) -> tuple[Message, ...]:
    """One answer: plain text, one turn, or a list of turns.

    Raises:
        BadRow: it is none of these.
    """
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return turns_of(value, what, album)
    return (assistant(text_of(value, what), album),)


def rejected_answer(value: object, what: str, keep_image: KeepImage) -> tuple[Message, ...]:
    """As `answer_of`, for the rejected side of a layout that has no column for images of its answer.

    Raises:
        BadRow: also when it names an image.
    """
    album = Album(keep_image)
    answer = answer_of(value, what, album)
    if album.own:
        raise BadRow("image-in-answer", f"{what} names an image inside the answer, where no layout has a place")
    return answer


def assistant(text: str, album: Album | None = None) -> Message:
    """An answer as a message."""
    return Message(role="assistant", content=parts_of(text, album))


def user(parts: Sequence[Part]) -> Message:
    """A question as a message."""
    return Message(role="user", content=tuple(parts))


def system(value: object) -> Message:
    """An instruction before the conversation."""
    return Message(role="system", content=(Part(type="text", text=text_of(value, "system")),))


def history_of(value: object, album: Album) -> Iterator[Message]:
    """Earlier exchanges, as lists of question and answer.

    Raises:
        BadRow: anything else.
    """
    bad = BadRow("malformed-row", "history must be a list of question and answer")
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise bad
    for item in value:
        if isinstance(item, (str, Mapping)) or not isinstance(item, Sequence) or len(item) != 2:
            raise bad
        yield user(parts_of(text_of(item[0], "history"), album))
        yield assistant(text_of(item[1], "history"), album)


def split_answer(turns: Sequence[Message], what: str) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """(turns before the answer, the answer) of a whole conversation.

    Raises:
        BadRow: the last turn is not an answer, or nothing is asked before it.
    """
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role == "assistant":
        raise BadRow("malformed-row", f"{what} must end in a question and one answer")
    return tuple(turns[:-1]), (turns[-1],)


def require_question_last(prompt: Sequence[Message]) -> None:
    """Raises `BadRow` when a prompt does not end in what the user asks."""
    if prompt[-1].role != "user":
        raise BadRow("malformed-row", f"the prompt ends in a turn of the {prompt[-1].role}, expected is the user's")


def require_same_prompt(chosen: Sequence[Message], rejected: Sequence[Message]) -> None:
    """Raises `BadRow` when the two sides answer different questions (case and spacing ignored)."""
    if [(turn.role, folded(turn.text)) for turn in chosen] != [(turn.role, folded(turn.text)) for turn in rejected]:
        raise BadRow("questions-differ", f"{glimpse(chosen[-1].text)} against {glimpse(rejected[-1].text)}")
    if [turn.images for turn in chosen] != [turn.images for turn in rejected]:
        raise BadRow("image-placeholder-missing", "the two sides hold different numbers of image placeholders")


def other_images(given: Sequence[str], album: Album, images: Sequence[str]) -> tuple[str, ...]:
    """Images of the rejected side, from its column or its places; empty where they are the chosen side's."""
    found = album.images(given)
    return () if found == tuple(images) else found


def _turn(turn: Mapping[str, Any], what: str, album: Album) -> Message:
    spelled = next((turn[key] for key in _ROLE_KEYS if turn.get(key) is not None), None)
    role = role_of(spelled)
    if role is None:
        raise BadRow("malformed-row", f"{what} is spoken by {glimpse(spelled)}, known are {', '.join(KNOWN)}")
    content = next((turn[key] for key in _CONTENT_KEYS if turn.get(key) is not None), None)
    if isinstance(content, Mapping):
        content = [content]
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        parts = tuple(part for item in content for part in _typed(item, what, album))
    else:
        parts = parts_of(text_of(content, what), album)
    return Message(role=role, content=parts)


def _typed(item: object, what: str, album: Album) -> tuple[Part, ...]:
    if isinstance(item, str):
        return parts_of(text_of(item, f"{what} content"), album)
    piece = mapping_of(item, f"{what} content")
    kind = piece.get("type")
    named = {key: piece[key] for key in _IMAGE_KEYS if piece.get(key) is not None}
    if kind is None:
        kind = "image" if named else "text"
    if kind in _IMAGE_TYPES:
        other = next((key for key, said in piece.items() if said is not None and key not in _ASIDE), None)
        if not named and other is not None:
            raise BadRow(
                "image-missing", f"{what} names its image by {glimpse(other)}, known are {', '.join(_IMAGE_KEYS)}"
            )
        return (album.place(named or None, f"{what} content"),)
    if kind in _TEXT_TYPES:
        return parts_of(text_of(piece.get("text"), f"{what} content"), album)
    raise BadRow("malformed-row", f"{what} content has the type {glimpse(kind)}, known are image and text")
