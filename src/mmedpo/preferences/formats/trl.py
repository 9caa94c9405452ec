"""Preference rows as TRL's trainers read them: `prompt`, `chosen`, `rejected` and `images`.

Read: explicit prompts (text or turns), implicit ones (the whole conversation on both sides), `image` or
`images`, typed or plain content. Written: Parquet with typed turns and the images inside, which
`datasets.load_dataset("parquet", data_files=...)` decodes and `trl.DPOTrainer` takes as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmedpo.preferences.layout import (
    BadRow,
    KeepImage,
    answer_of,
    extra_of,
    pair_type_of,
    parts_of,
    paths_of,
    require_same_prompt,
    score_of,
    split_answer,
    text_of,
    turns_of,
    user,
)
from mmedpo.records import Message, Part, PreferenceRow
from mmedpo.registry import register

_KNOWN = {"prompt", "chosen", "rejected", "images", "image", "rejected_images", "score_chosen", "score_rejected"}


@register("preference-format", "trl")
class Trl:
    """Conversational preference rows of TRL, images inside the Parquet file."""

    name: ClassVar[str] = "trl"
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".jsonl", ".json")
    unread: ClassVar[tuple[str, ...]] = ("score", "weight")
    pair_types: ClassVar[tuple[str, ...]] = ("text",)
    most_images: ClassVar[int | None] = None
    embeds: ClassVar[bool] = True

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`chosen` and `rejected` with a prompt, or with the whole conversation on both sides."""
        if "chosen" not in raw or "rejected" not in raw or "conversations" in raw or "question" in raw:
            return False
        return "row_id" not in raw and ("prompt" in raw or isinstance(raw["chosen"], Sequence))

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        value = raw.get("images") if raw.get("images") is not None else raw.get("image")
        images = paths_of(value, "images", keep_image)
        rejected_images = paths_of(raw.get("rejected_images"), "rejected_images", keep_image)
        chosen = answer_of(raw.get("chosen"), "chosen")
        rejected = answer_of(raw.get("rejected"), "rejected")
        prompt = _prompt(raw.get("prompt"))
        if prompt is None:
            prompt, chosen = split_answer(chosen, "chosen")
            other, rejected = split_answer(rejected, "rejected")
            require_same_prompt(prompt, other)
        score, why = score_of(None, "score")
        return PreferenceRow(
            row_id="",
            pair_type=pair_type_of(chosen, rejected, rejected_images),
            prompt=_with_images(prompt, len(images)),
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
        return {
            "prompt": [turn.model_dump() for turn in row.prompt],
            "chosen": [turn.model_dump() for turn in row.chosen],
            "rejected": [turn.model_dump() for turn in row.rejected],
            "images": list(row.images),
        }


def _prompt(value: object) -> tuple[Message, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (user(parts_of(text_of(value, "prompt"))),)
    turns = turns_of(value, "prompt", "role", "content")
    if turns[-1].role != "user":
        raise BadRow("malformed-row", f"the prompt ends in a turn of the {turns[-1].role}, expected is the user's")
    return turns


def _with_images(prompt: tuple[Message, ...], images: int) -> tuple[Message, ...]:
    """Plain-text prompts name no image: TRL puts every image before the first question."""
    if not images or any(turn.images for turn in prompt):
        return prompt
    first = next(index for index, turn in enumerate(prompt) if turn.role == "user")
    content = (*(Part(type="image") for _ in range(images)), *prompt[first].content)
    return (*prompt[:first], user(content), *prompt[first + 1 :])
