"""Turns of a conversation in any spelling, and the images at their places.

An image has a place in a text (`<image>`, or a typed part) and a name: in the column of images, in the order of
the places, or in the part itself (`{"type": "image", "image": "a.png"}`, `{"type": "image_url", ...}`). Both are
kept: an `Album` collects what the parts of one side name, and joins it with the column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmedpo.preferences.layout import (
    IMAGE_COLUMNS,
    BadRow,
    KeepImage,
    bound,
    folded,
    glimpse,
    mapping_of,
    path_of,
    paths_of,
    text_of,
)
from mmedpo.records import IMAGE_PLACE, Message, Part
from mmedpo.storage.speakers import KNOWN, role_of

PLACEHOLDER = IMAGE_PLACE
"""Where an image stands in the formats that spell messages as plain text."""

_PLACE = re.compile(
    r"<image>(?P<file>[^<>\n]+\.[a-z]{3,4})</image>"
    r"|<image(?:[ _-]?(?P<number>\d{1,3}))?>|<\|image(?:[ _-]?(?P<bar>\d{1,3}))?\|>|<image_?(?:here|placeholder)>"
    r"|<start_of_image>|<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>|<img>(?P<name>[^<>\n]+)</img>"
    r"|!\[[^\]\n]{0,200}\]\((?P<link>[^()\s]+)\)"
    r"|<img\s[^<>]{0,200}?\bsrc=[\"']?(?P<source>[^<>\"']+)[^<>]{0,200}>",
    re.IGNORECASE,
)
"""Places as formats and chat templates spell them (LLaVA, MMMU, Phi, Llama, InternLM, DeepSeek, Gemma, Qwen);
`<img>a.png</img>`, of ms-swift and Qwen-VL, names its image, as do `![](a.png)` and `<img src="a.png">`."""
_NAMING = ("name", "file", "link", "source")

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
        self.places: list[str | int | None] = []
        """For every place in order the image it names itself, its number in the column, or None."""

    def place(self, value: object, what: str) -> Part:
        """One more place, for the image that `value` names, or that has this number (None: it names none)."""
        bound(len(self.places) + 1, f"places of {what}")
        known = value is None or (isinstance(value, int) and not isinstance(value, bool))
        self.places.append(value if known else path_of(value, what, self.keep_image))  # type: ignore[arg-type]
        return Part(type="image")

    def fill(self, first: int, named: Sequence[str], what: str) -> tuple[Part, ...]:
        """Gives the places of a turn, those from `first` on, the images that the turn itself names beside its text.

        Returns:
            A place for every image that is to stand before the text, which has none.

        Raises:
            BadRow: the text has places for another number of images.
        """
        places = self.places[first:]
        if places and named and (len(places) != len(named) or any(place is not None for place in places)):
            raise BadRow("image-missing", f"{what} names {len(named)} images for {len(places)} places")
        if named:
            self.places[first:] = named
        return () if places else tuple(Part(type="image") for _ in named)

    @property
    def own(self) -> tuple[str, ...]:
        """The images that places name themselves."""
        return tuple(name for name in self.places if isinstance(name, str))

    def images(self, column: Sequence[str]) -> tuple[str, ...]:
        """The images of the side in the order of their places: those named there, the others from the column.

        Raises:
            BadRow: a place before a named image has none.
        """
        if not column and not self.own:
            return ()
        if any(isinstance(place, int) for place in self.places):
            return self._numbered(column)
        if not self.own or self.own == tuple(column) or self._repeats(column):
            return tuple(column)
        left = list(column)
        found: list[str] = []
        for name in self.places:
            if not isinstance(name, str) and not left:
                raise BadRow("image-missing", "an image place names no image, and no column does")
            found.append(name if isinstance(name, str) else left.pop(0))
        return (*found, *(name for name in left if name not in found))

    def _numbered(self, column: Sequence[str]) -> tuple[str, ...]:
        """The images of places with numbers (`<image_2>`), counted from 1, or from 0 where one is called so."""
        numbers = [place for place in self.places if isinstance(place, int)]
        if len(numbers) < len(self.places):
            raise BadRow("image-missing", "some image places have a number and some have none")
        first = 0 if 0 in numbers else 1
        outside = next((number for number in numbers if not first <= number < len(column) + first), None)
        if outside is not None:
            raise BadRow("image-missing", f"the text asks for image {outside}, the row has {len(column)}")
        rest = [name for n, name in enumerate(column, start=first) if n not in numbers]
        return (*(column[number - first] for number in numbers), *rest)

    def _repeats(self, column: Sequence[str]) -> bool:
        """True when the column has an image for every place, those named there included."""
        same = len(column) == len(self.places)
        return same and all(name in (None, other) for name, other in zip(self.places, column, strict=True))


def parts_of(text: str, album: Album | None = None) -> tuple[Part, ...]:
    """Plain text with placeholders to parts; the one line break beside a placeholder belongs to the layout.

    Without an album, places that name or number their image are text.
    """
    parts: list[Part] = []
    places = [place for place in _PLACE.finditer(text) if album is not None or not any(place.groups())]
    ends = [*(place.start() for place in places), len(text)]
    for index, end in enumerate(ends):
        piece = text[places[index - 1].end() if index else 0 : end]
        if index:
            parts.append(Part(type="image") if album is None else _place(places[index - 1], album))
            piece = piece.removeprefix("\n")
        if piece and index < len(places):
            piece = piece.removesuffix("\n")
        if piece:
            parts.append(Part(type="text", text=piece))
    return tuple(parts)


def _place(spelled: re.Match[str], album: Album) -> Part:
    number = spelled["number"] or spelled["bar"]
    named = next((spelled[group] for group in _NAMING if spelled[group]), None)
    return album.place(int(number) if number else named, "<img>")


def plain_of(parts: Sequence[Part]) -> str:
    """Parts to plain text with placeholders, `<image>` on a line of its own.

    Raises:
        BadRow: a text holds the placeholder itself, which would become the place of an image.
    """
    text = ""
    for index, part in enumerate(parts):
        if place := _PLACE.search(part.text or ""):
            raise BadRow("placeholder-in-text", f"a text holds {glimpse(place[0])}, which would be read as an image")
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
    bound(len(value), f"turns of {what}")
    return tuple(_turn(mapping_of(raw, f"{what} turn {n}"), f"{what} turn {n}", album) for n, raw in enumerate(value))


def answer_of(value: object, what: str, album: Album) -> tuple[Message, ...]:
    """One answer: plain text, one turn, or a list of turns.

    Raises:
        BadRow: it is none of these.
    """
    if isinstance(value, Mapping):
        value = talk_in(value) or [value]
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return turns_of(value, what, album)
    return (assistant(text_of(value, what), album),)


def talk_in(side: object) -> Sequence[Any] | None:
    """The turns of a side that wraps them: `{conversations: [...]}` or `{messages: [...]}`."""
    wrapped = [side.get(key) for key in ("conversations", "messages")] if isinstance(side, Mapping) else []
    return next((w for w in wrapped if isinstance(w, Sequence) and not isinstance(w, (str, bytes)) and w), None)


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
    before = len(album.places)
    if isinstance(content, Sequence) and not isinstance(content, (str, bytes)):
        bound(len(content), f"parts of {what}")
        parts = tuple(part for item in content for part in _typed(item, what, album))
    else:
        parts = parts_of(text_of(content, what), album)
    column = next((name for name in IMAGE_COLUMNS if turn.get(name)), "")
    shown = paths_of(turn[column], f"{what} {column}", album.keep_image) if column else ()
    return Message(role=role, content=(*album.fill(before, shown, what), *parts))


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
        stray = next((key for key in (*IMAGE_COLUMNS, "image_url", "bytes", "base64") if piece.get(key)), "")
        if stray:
            raise BadRow("image-missing", f"{what} content is text and names an image by {stray}; give it its own part")
        return parts_of(text_of(piece.get("text"), f"{what} content"), album)
    raise BadRow("malformed-row", f"{what} content has the type {glimpse(kind)}, known are image and text")
