"""Preference rows as TRL's trainers read them: `prompt`, `chosen`, `rejected` and `images`.

Read: explicit prompts (text or turns), implicit ones (the whole conversation on both sides, also wrapped as
`{conversations: [...]}`), `image` or `images`, typed or plain content, answers called `chosen_response` and the like.
Written: Parquet with typed turns and the images inside, which `datasets.load_dataset("parquet", data_files=...)`
decodes and `trl.DPOTrainer` takes as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    answer_of,
    other_images,
    parts_of,
    require_question_last,
    require_same_prompt,
    split_answer,
    talk_in,
    turns_of,
    user,
)
from mmedpo.records import Message, Part, PreferenceRow
from mmedpo.registry import register

_ENDINGS = ("_response", "_answer", "_text", "_output", "_completion")
"""Of `chosen` and `rejected`, as data sets on the hub call their answers."""
_QUESTIONS = ("question", "query", "instruction", "input", "problem")
_KNOWN = {"prompt", "chosen", "rejected", "images", "image", "rejected_images"}


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
        raw = _plainly(raw)
        if "chosen" not in raw or "rejected" not in raw or "conversations" in raw or "question" in raw:
            return False
        whole = isinstance(raw["chosen"], Sequence) or talk_in(raw["chosen"]) is not None
        return "row_id" not in raw and ("prompt" in raw or whole)

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        raw = _plainly(raw)
        side, other_side = Album(keep_image), Album(keep_image)
        prompt = _prompt(raw.get("prompt"), side)
        asked = len(side.places)
        chosen = answer_of(raw.get("chosen"), "chosen", side)
        rejected = answer_of(raw.get("rejected"), "rejected", other_side)
        if prompt is None or (chosen[0].role != "assistant" and rejected[0].role != "assistant"):
            # The whole conversation stands on both sides; a prompt beside it says the same once more.
            del side.places[:asked]
            prompt, chosen = split_answer(chosen, "chosen")
            other, rejected = split_answer(rejected, "rejected")
            require_same_prompt(prompt, other)
        elif other_side.own:
            raise BadRow("image-in-answer", "rejected names an image inside the answer, where no layout has a place")
        column = image_column(raw)
        images = side.images(paths_of(raw.get(column) or _beside(raw["chosen"]), column, keep_image))
        told = paths_of(raw.get("rejected_images") or _beside(raw["rejected"]), "rejected_images", keep_image)
        told = () if told == images else told
        rejected_images = told if told and not other_side.own else other_images(told, other_side, images)
        return PreferenceRow(
            row_id="",
            pair_type=pair_type_of(chosen, rejected, rejected_images),
            prompt=_with_images(prompt, len(images)),
            chosen=chosen,
            rejected=rejected,
            images=images,
            rejected_images=rejected_images,
            unscored_reason=NO_SCORE,
            extra=extra_of(raw, _KNOWN | {column}),
        )

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row."""
        return {
            "prompt": [turn.model_dump() for turn in row.prompt],
            "chosen": [turn.model_dump() for turn in row.chosen],
            "rejected": [turn.model_dump() for turn in row.rejected],
            "images": list(row.images),
        }


def _plainly(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with its answers and its question under the names of TRL."""
    for ending in _ENDINGS:
        answers = {f"chosen{ending}": "chosen", f"rejected{ending}": "rejected"}
        if answers.keys() <= raw.keys() and not {"chosen", "rejected", "messages"} & raw.keys():
            asked = {} if "prompt" in raw else dict.fromkeys(next(([q] for q in _QUESTIONS if q in raw), []), "prompt")
            return {(answers | asked).get(key, key): value for key, value in raw.items()}
    return raw


def _beside(side: object) -> Any:
    """The image that stands beside the turns of a side which wraps them."""
    return side.get(image_column(side)) if isinstance(side, Mapping) and talk_in(side) else None


def _prompt(value: object, album: Album) -> tuple[Message, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (user(parts_of(text_of(value, "prompt"), album)),)
    turns = turns_of(value, "prompt", album)
    require_question_last(turns)
    return turns


def _with_images(prompt: tuple[Message, ...], images: int) -> tuple[Message, ...]:
    """Plain-text prompts name no image: TRL puts every image before the first question."""
    if not images or any(turn.images for turn in prompt):
        return prompt
    first = next(index for index, turn in enumerate(prompt) if turn.role == "user")
    content = (*(Part(type="image") for _ in range(images)), *prompt[first].content)
    return (*prompt[:first], user(content), *prompt[first + 1 :])
