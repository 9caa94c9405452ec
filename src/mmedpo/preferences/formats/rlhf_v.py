"""Preference rows of the RLHF-V and RLAIF-V data sets (Yu et al., arXiv 2312.00849, 2405.17220), in Parquet.

`image` is `{bytes, path}`; RLHF-V keeps question, chosen and rejected in one JSON text `text`, RLAIF-V in
three columns; `origin_dataset`, `origin_split` (JSON), `idx`, `image_path`, `ds_name` say where a row is from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.preferences.layout import NO_SCORE, BadRow, KeepImage, extra_of, mapping_of, paths_of, text_of
from mmedpo.preferences.turns import assistant, parts_of, plain_of, user
from mmedpo.records import Part, PreferenceRow
from mmedpo.registry import register

_KNOWN = {"image", "text", "question", "chosen", "rejected"}


@register("preference-format", "rlhf-v")
class RlhfV:
    """One question on one image, two answers, the image inside the file."""

    name: ClassVar[str] = "rlhf-v"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".json", ".jsonl")
    unread: ClassVar[tuple[str, ...]] = ("score", "weight")
    pair_types: ClassVar[tuple[str, ...]] = ("text",)
    most_images: ClassVar[int | None] = 1
    embeds: ClassVar[bool] = True

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`image` with the answers in `text`, or with a `question` beside them."""
        return "image" in raw and ("text" in raw or {"question", "chosen", "rejected"} <= raw.keys())

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        told = _told(raw)
        question = text_of(told.get("question"), "question")
        images = paths_of(raw.get("image"), "image", keep_image)
        # Its own programs put the image before the question, unless that has a place for it.
        parts = parts_of(question.strip("\n"))
        if all(part.type == "text" for part in parts):
            parts = (*(Part(type="image") for _ in images), *parts)
        return PreferenceRow(
            row_id="",
            pair_type="text",
            prompt=(user(parts),),
            chosen=(assistant(text_of(told.get("chosen"), "chosen")),),
            rejected=(assistant(text_of(told.get("rejected"), "rejected")),),
            images=images,
            unscored_reason=NO_SCORE,
            extra=extra_of(raw, _KNOWN),
        )

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row in the layout of RLHF-V."""
        if len(row.prompt) != 1 or len(row.chosen) != 1 or len(row.rejected) != 1:
            raise BadRow("multi-turn", f"row {row.row_id} has several turns")
        parts = row.prompt[0].content
        if len(row.images) != 1 or [part.type for part in parts] != ["image", "text"]:
            raise BadRow("image-not-before-text", f"row {row.row_id} is not one image followed by one question")
        extra = json.loads(row.extra) if row.extra else {}
        told = {
            "question": parts[1].text,
            "chosen": plain_of(row.chosen[0].content),
            "rejected": plain_of(row.rejected[0].content),
        }
        index = extra.get("idx")
        return {
            "ds_name": _string(extra.get("ds_name"), row.dataset),
            "image": row.images[0],
            "text": json.dumps(told, ensure_ascii=False),
            "origin_dataset": _string(extra.get("origin_dataset"), row.dataset),
            "origin_split": _string(extra.get("origin_split"), "{}"),
            "idx": index if isinstance(index, int) and abs(index) < 2**63 else row.source_row,
            "image_path": _string(extra.get("image_path"), row.images[0]),
        }


def _told(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    if raw.get("text") is None:
        return raw
    if isinstance(raw["text"], Mapping):
        return mapping_of(raw["text"], "text")
    try:
        return mapping_of(json.loads(text_of(raw["text"], "text")), "text")
    except (ValueError, RecursionError):
        raise BadRow("malformed-row", "text is not a JSON object with question, chosen and rejected") from None


def _string(value: object, otherwise: str) -> str:
    return value if isinstance(value, str) else otherwise
