"""The preference files released with MMedPO (Zhu et al., arXiv 2412.06141; aiming-lab/MMedPO), and the benchmark's.

A list of rows `{id, image, conversations, rejected_conversations, weighted_score, rejected_image?}`. The
released rows carry two answers to one clean image and a raw score. The benchmark (arXiv 2601.17918) uses
the same keys and names a `rejected_image` in every row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.preferences.layout import WEIGHTED, BadRow, KeepImage, extra_of, image_column, pair_type_of, paths_of
from mmedpo.preferences.turns import Album, other_images, plain_of, require_same_prompt, split_answer, turns_of
from mmedpo.records import Message, PreferenceRow
from mmedpo.registry import register

_KNOWN = {"image", "images", "rejected_image", "conversations", "rejected_conversations"}
_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


@register("preference-format", "mmedpo-json")
class MmedpoJson:
    """Rows as released with MMedPO."""

    name: ClassVar[str] = "mmedpo-json"
    suffixes: ClassVar[tuple[str, ...]] = (".json", ".jsonl")
    unread: ClassVar[tuple[str, ...]] = ()
    pair_types: ClassVar[tuple[str, ...]] = ("text", "visual", "both")
    most_images: ClassVar[int | None] = 1
    embeds: ClassVar[bool] = False

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`rejected_conversations` is found nowhere else; the benchmark's rows are those with a rejected image."""
        return "rejected_conversations" in raw

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        side, other_side = Album(keep_image), Album(keep_image)
        chosen = turns_of(raw.get("conversations"), "conversations", side)
        rejected = turns_of(raw.get("rejected_conversations"), "rejected_conversations", other_side)
        prompt, answer = split_answer(chosen, "conversations")
        other_prompt, other = split_answer(rejected, "rejected_conversations")
        require_same_prompt(prompt, other_prompt)
        column = image_column(raw)
        images = side.images(paths_of(raw.get(column), column, keep_image))
        if not images:
            raise BadRow("malformed-row", "the row names no image")
        told = paths_of(raw.get("rejected_image") or None, "rejected_image", keep_image)
        rejected_images = told if told and not other_side.own else other_images(told, other_side, images)
        return PreferenceRow(
            row_id="",
            pair_type=pair_type_of(answer, other, rejected_images),
            prompt=prompt,
            chosen=answer,
            rejected=other,
            images=images,
            rejected_images=rejected_images,
            unscored_reason=f"the row has no {WEIGHTED}",
            extra=extra_of(raw, _KNOWN | {column}),
        )

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row; `weighted_score` is the weight where there is one, the score otherwise."""
        extra = json.loads(row.extra) if row.extra else {}
        if not row.images:
            raise BadRow("no-image", f"row {row.row_id} names no image")
        raw: dict[str, Any] = {"id": extra.get("id", row.row_id), "image": row.images[0]}
        if row.rejected_images:
            raw["rejected_image"] = row.rejected_images[0]
        raw["conversations"] = _turns((*row.prompt, *row.chosen))
        raw["rejected_conversations"] = _turns((*row.prompt, *row.rejected))
        value = row.score if row.weight is None else row.weight
        if value is None:
            value = extra.get(WEIGHTED)  # what cannot be used is not lost
        if value is not None:
            raw[WEIGHTED] = value
        return raw


@register("preference-format", "benchmark-json")
class BenchmarkJson(MmedpoJson):
    """Rows of the benchmark: a rejected image in every one (the clean image where the pair has no other)."""

    name: ClassVar[str] = "benchmark-json"

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """As MMedPO's, with a rejected image."""
        return "rejected_conversations" in raw and bool(raw.get("rejected_image"))

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row; a rejected image that is the clean one is no other image."""
        row = super().parse(raw, keep_image)
        if row.rejected_images == row.images:
            return row.model_copy(update={"rejected_images": (), "pair_type": "text"})
        return row

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row."""
        raw = super().render(row)
        return {**raw, "rejected_image": raw.get("rejected_image", raw["image"])}


def _turns(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"from": _SPEAKERS[turn.role], "value": plain_of(turn.content)} for turn in messages]
