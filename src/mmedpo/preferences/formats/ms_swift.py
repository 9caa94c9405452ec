"""Preference rows as ms-swift reads them: JSONL with `messages`, `rejected_response` and `rejected_images`.

`messages` is the whole chosen conversation in plain text with `<image>`; the rejected side is
`rejected_response` (text) or `rejected_messages`, its images are `rejected_images`. The earlier layout
`{system, history, query, response}` is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.preferences.layout import (
    NO_SCORE,
    BadRow,
    KeepImage,
    extra_of,
    image_column,
    pair_type_of,
    paths_of,
    text_of,
)
from mmedpo.preferences.turns import (
    Album,
    assistant,
    history_of,
    other_images,
    parts_of,
    plain_of,
    rejected_answer,
    require_same_prompt,
    split_answer,
    system,
    turns_of,
    user,
)
from mmedpo.records import Message, PreferenceRow
from mmedpo.registry import register

_KNOWN = {"messages", "rejected_response", "rejected_messages", "images", "rejected_images"}
_KNOWN |= {"query", "response", "system", "history"}
_REJECTED = {"rejected_response", "rejected_messages", "rejected_images"}


@register("preference-format", "ms-swift")
class MsSwift:
    """The standard layout of ms-swift for preference training."""

    name: ClassVar[str] = "ms-swift"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".json", ".parquet")
    unread: ClassVar[tuple[str, ...]] = ("score", "weight")
    pair_types: ClassVar[tuple[str, ...]] = ("text", "visual", "both")
    most_images: ClassVar[int | None] = None
    embeds: ClassVar[bool] = False

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`messages`, or `query` and `response`, with a rejected side beside them."""
        return ("messages" in raw or {"query", "response"} <= raw.keys()) and bool(_REJECTED & raw.keys())

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row; without a rejected answer, it is the rejected image that makes the pair."""
        side, other_side = Album(keep_image), Album(keep_image)
        prompt, chosen = split_answer(_conversation(raw, side), "messages")
        if raw.get("rejected_messages") is not None:
            turns = turns_of(raw["rejected_messages"], "rejected_messages", other_side)
            other, rejected = split_answer(turns, "rejected_messages")
            require_same_prompt(prompt, other)
        elif raw.get("rejected_response") is not None:
            rejected = rejected_answer(raw["rejected_response"], "rejected_response", keep_image)
        elif raw.get("rejected_images"):
            rejected = chosen
        else:
            raise BadRow("malformed-row", "the row has neither rejected_response nor rejected_messages")
        column = image_column(raw)
        images = side.images(paths_of(raw.get(column), column, keep_image))
        told = paths_of(raw.get("rejected_images"), "rejected_images", keep_image)
        rejected_images = other_images(told, other_side, images)
        return PreferenceRow(
            row_id="",
            pair_type=pair_type_of(chosen, rejected, rejected_images),
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            images=images,
            rejected_images=rejected_images,
            unscored_reason=NO_SCORE,
            extra=extra_of(raw, _KNOWN | {column}),
        )

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row."""
        if len(row.chosen) != 1 or len(row.rejected) != 1:
            raise BadRow("several-answer-turns", f"row {row.row_id} answers in several turns")
        turns = [{"role": turn.role, "content": plain_of(turn.content)} for turn in (*row.prompt, *row.chosen)]
        raw: dict[str, Any] = {"messages": turns, "rejected_response": plain_of(row.rejected[0].content)}
        if row.images:
            raw["images"] = list(row.images)
        if row.rejected_images:
            raw["rejected_images"] = list(row.rejected_images)
        return raw


def _conversation(raw: Mapping[str, Any], album: Album) -> tuple[Message, ...]:
    """The chosen side: `messages`, or system, history, query and response (the earlier layout)."""
    before = (system(raw["system"]),) if raw.get("system") else ()
    if raw.get("messages") is not None:
        return (*before, *turns_of(raw["messages"], "messages", album))
    earlier = tuple(history_of(raw.get("history") or [], album))
    asked = user(parts_of(text_of(raw.get("query"), "query"), album))
    return (*before, *earlier, asked, assistant(text_of(raw.get("response"), "response"), album))
