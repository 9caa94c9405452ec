"""The preference files released with MMedPO (Zhu et al., arXiv 2412.06141; aiming-lab/MMedPO), and the benchmark's.

A list of rows `{id, image, conversations, rejected_conversations, weighted_score, rejected_image?}`. The
released rows carry two answers to one clean image and a raw score. The benchmark (arXiv 2601.17918) uses
the same keys and names a `rejected_image` in every row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.preferences.layout import (
    BadRow,
    KeepImage,
    extra_of,
    pair_type_of,
    paths_of,
    plain_of,
    require_same_prompt,
    score_of,
    split_answer,
    turns_of,
)
from mmedpo.records import Message, PreferenceRow
from mmedpo.registry import register

_KNOWN = {"image", "rejected_image", "conversations", "rejected_conversations", "weighted_score"}
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
        images = paths_of(raw.get("image"), "image", keep_image)
        if not images:
            raise BadRow("malformed-row", "the row names no image")
        rejected_images = paths_of(raw.get("rejected_image") or None, "rejected_image", keep_image)
        chosen = turns_of(raw.get("conversations"), "conversations")
        rejected = turns_of(raw.get("rejected_conversations"), "rejected_conversations")
        prompt, answer = split_answer(chosen, "conversations")
        other_prompt, other = split_answer(rejected, "rejected_conversations")
        require_same_prompt(prompt, other_prompt)
        score, why = score_of(raw.get("weighted_score"), "weighted_score")
        return PreferenceRow(
            row_id="",
            pair_type=pair_type_of(answer, other, rejected_images),
            prompt=prompt,
            chosen=answer,
            rejected=other,
            images=images,
            rejected_images=rejected_images,
            score=score,
            unscored_reason=why,
            extra=extra_of(raw, _KNOWN),
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
        if value is not None:
            raw["weighted_score"] = value
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
