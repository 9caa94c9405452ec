"""A layout of preference files: one flat row a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.preferences.layout import BadRow, KeepImage, paths_of, score_of, text_of
from mmedpo.preferences.turns import assistant, parts_of, user
from mmedpo.records import Part, PreferenceRow
from mmedpo.registry import register


@register("preference-format", "flat")
class Flat:
    """`{picture, asked, right, wrong, badness}`."""

    name: ClassVar[str] = "flat"
    suffixes: ClassVar[tuple[str, ...]] = (".jsonl",)
    unread: ClassVar[tuple[str, ...]] = ("weight",)
    pair_types: ClassVar[tuple[str, ...]] = ("text",)
    most_images: ClassVar[int | None] = 1
    embeds: ClassVar[bool] = False

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`badness` is a column of no other layout."""
        return "badness" in raw

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        score, why = score_of(raw, "badness")
        return PreferenceRow(
            row_id="",
            pair_type="text",
            prompt=(user((Part(type="image"), *parts_of(text_of(raw.get("asked"), "asked")))),),
            chosen=(assistant(text_of(raw.get("right"), "right")),),
            rejected=(assistant(text_of(raw.get("wrong"), "wrong")),),
            images=paths_of(raw.get("picture"), "picture", keep_image),
            score=score,
            unscored_reason=why,
        )

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row."""
        if not row.images:
            raise BadRow("no-image", f"row {row.row_id} names no image")
        told = {"asked": row.question, "right": row.chosen_text, "wrong": row.rejected_text}
        return {"picture": row.images[0], **told, "badness": row.score}
