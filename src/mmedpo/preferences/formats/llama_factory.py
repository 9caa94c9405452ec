"""Preference rows as LLaMA-Factory reads them, in its ShareGPT and its Alpaca layout; written as ShareGPT.

ShareGPT: `{conversations, chosen: {from, value}, rejected: {from, value}, images}`, also as `{messages}` of
`{role, content}`. Alpaca: `{instruction,
input?, system?, history?, chosen, rejected, images}`. A data set of it is announced in `dataset_info.json`,
which the export writes beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmedpo.preferences.layout import NO_SCORE, BadRow, KeepImage, extra_of, image_column, paths_of, text_of
from mmedpo.preferences.turns import (
    Album,
    answer_of,
    history_of,
    parts_of,
    plain_of,
    rejected_answer,
    require_question_last,
    system,
    turns_of,
    user,
)
from mmedpo.records import Message, PreferenceRow
from mmedpo.registry import register
from mmedpo.storage.speakers import role_of

_KNOWN = {"conversations", "messages", "chosen", "rejected", "images", "image", "system"}
_KNOWN |= {"instruction", "input", "history"}
_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system"}


@register("preference-format", "llama-factory")
class LlamaFactory:
    """ShareGPT or Alpaca preference rows."""

    name: ClassVar[str] = "llama-factory"
    suffixes: ClassVar[tuple[str, ...]] = (".json", ".jsonl", ".parquet")
    unread: ClassVar[tuple[str, ...]] = ("score", "weight")
    pair_types: ClassVar[tuple[str, ...]] = ("text",)
    most_images: ClassVar[int | None] = None
    embeds: ClassVar[bool] = False

    def recognises(self, raw: Mapping[str, Any]) -> bool:
        """`chosen` and `rejected` beside `conversations`, an `instruction`, or, as answers alone, `messages`."""
        if "chosen" not in raw or "rejected" not in raw:
            return False
        talk = "messages" in raw and "prompt" not in raw and not _asks(raw["chosen"])
        return "conversations" in raw or "instruction" in raw or talk

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        album = Album(keep_image)
        talk = next((raw[key] for key in ("conversations", "messages") if raw.get(key) is not None), None)
        prompt = _alpaca(raw, album) if talk is None else _sharegpt(raw, talk, album)
        require_question_last(prompt)
        chosen = answer_of(raw.get("chosen"), "chosen", album)
        column = image_column(raw)
        return PreferenceRow(
            row_id="",
            pair_type="text",
            prompt=prompt,
            chosen=chosen,
            rejected=rejected_answer(raw.get("rejected"), "rejected", keep_image),
            images=album.images(paths_of(raw.get(column), column, keep_image)),
            unscored_reason=NO_SCORE,
            extra=extra_of(raw, _KNOWN | {column}),
        )

    def render(self, row: PreferenceRow) -> dict[str, Any]:
        """Writes one row."""
        if len(row.chosen) != 1 or len(row.rejected) != 1:
            raise BadRow("several-answer-turns", f"row {row.row_id} answers in several turns")
        raw: dict[str, Any] = {
            "conversations": [_spoken(turn) for turn in row.prompt],
            "chosen": _spoken(row.chosen[0]),
            "rejected": _spoken(row.rejected[0]),
        }
        if row.images:
            raw["images"] = list(row.images)
        return raw


def dataset_info(name: str, file_name: str) -> str:
    """The entry of `dataset_info.json` under which LLaMA-Factory finds an exported file."""
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "images": "images"}
    entry = {"file_name": file_name, "formatting": "sharegpt", "ranking": True, "columns": columns}
    return json.dumps({name: entry}, indent=1) + "\n"


def _asks(side: object) -> bool:
    """True for a side that is a whole conversation: it begins with a turn that is no answer."""
    first = side[0] if isinstance(side, Sequence) and side else side
    spoken = first.get("role", first.get("from")) if isinstance(first, Mapping) else "assistant"
    return role_of(spoken) != "assistant"


def _sharegpt(raw: Mapping[str, Any], talk: object, album: Album) -> tuple[Message, ...]:
    turns = turns_of(talk, "conversations", album)
    return (system(raw["system"]), *turns) if raw.get("system") else turns


def _alpaca(raw: Mapping[str, Any], album: Album) -> tuple[Message, ...]:
    before = [system(raw["system"])] if raw.get("system") else []
    before += history_of(raw.get("history") or [], album)
    asked = text_of(raw.get("instruction"), "instruction")
    if raw.get("input"):
        asked += "\n" + text_of(raw["input"], "input")
    return (*before, user(parts_of(asked, album)))


def _spoken(turn: Message) -> dict[str, str]:
    return {"from": _SPEAKERS[turn.role], "value": plain_of(turn.content)}
