"""Preference rows as ms-swift reads them: JSONL with `messages`, `rejected_response` and `rejected_images`.

`messages` is the whole chosen conversation in plain text with `<image>`; the rejected side is
`rejected_response` (text) or `rejected_messages`, its images are `rejected_images`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.preferences.layout import (
    BadRow,
    KeepImage,
    assistant,
    extra_of,
    pair_type_of,
    paths_of,
    plain_of,
    require_same_prompt,
    score_of,
    split_answer,
    text_of,
    turns_of,
)
from mmedpo.records import PreferenceRow
from mmedpo.registry import register

_KNOWN = {"messages", "rejected_response", "rejected_messages", "images", "rejected_images"}


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
        """`messages` with a rejected side beside them."""
        return "messages" in raw and ("rejected_response" in raw or "rejected_messages" in raw)

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        images = paths_of(raw.get("images"), "images", keep_image)
        rejected_images = paths_of(raw.get("rejected_images"), "rejected_images", keep_image)
        prompt, chosen = split_answer(turns_of(raw.get("messages"), "messages", "role", "content"), "messages")
        if raw.get("rejected_messages") is not None:
            turns = turns_of(raw["rejected_messages"], "rejected_messages", "role", "content")
            other, rejected = split_answer(turns, "rejected_messages")
            require_same_prompt(prompt, other)
        elif raw.get("rejected_response") is not None:
            rejected = (assistant(text_of(raw["rejected_response"], "rejected_response")),)
        else:
            raise BadRow("malformed-row", "the row has neither rejected_response nor rejected_messages")
        if rejected_images == images:
            rejected_images = ()
        score, why = score_of(None, "score")
        return PreferenceRow(
            row_id="",
            pair_type=pair_type_of(chosen, rejected, rejected_images),
            prompt=prompt,
            chosen=chosen,
            rejected=rejected,
            images=images,
            rejected_images=rejected_images,
            score=score,
            unscored_reason=why,
            extra=extra_of(raw, _KNOWN),
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
