"""Preference rows as LLaMA-Factory reads them, in its ShareGPT and its Alpaca layout; written as ShareGPT.

ShareGPT: `{conversations, chosen: {from, value}, rejected: {from, value}, images}`. Alpaca: `{instruction,
input?, system?, history?, chosen, rejected, images}`. A data set of it is announced in `dataset_info.json`,
which the export writes beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmedpo.preferences.layout import (
    BadRow,
    KeepImage,
    answer_of,
    assistant,
    extra_of,
    parts_of,
    paths_of,
    plain_of,
    score_of,
    text_of,
    turns_of,
    user,
)
from mmedpo.records import Message, Part, PreferenceRow
from mmedpo.registry import register

_KNOWN = {"conversations", "chosen", "rejected", "images", "system", "instruction", "input", "history"}
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
        """`chosen` and `rejected` beside `conversations` or an `instruction`."""
        return "chosen" in raw and "rejected" in raw and ("conversations" in raw or "instruction" in raw)

    def parse(self, raw: Mapping[str, Any], keep_image: KeepImage) -> PreferenceRow:
        """Reads one row."""
        prompt = _sharegpt(raw) if raw.get("conversations") is not None else _alpaca(raw)
        if prompt[-1].role != "user":
            raise BadRow("malformed-row", f"the prompt ends in a turn of the {prompt[-1].role}, expected is the user's")
        score, why = score_of(None, "score")
        return PreferenceRow(
            row_id="",
            pair_type="text",
            prompt=prompt,
            chosen=answer_of(raw.get("chosen"), "chosen", "from", "value"),
            rejected=answer_of(raw.get("rejected"), "rejected", "from", "value"),
            images=paths_of(raw.get("images"), "images", keep_image),
            score=score,
            unscored_reason=why,
            extra=extra_of(raw, _KNOWN),
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


def _sharegpt(raw: Mapping[str, Any]) -> tuple[Message, ...]:
    turns = turns_of(raw["conversations"], "conversations")
    if raw.get("system"):
        return (_system(raw["system"]), *turns)
    return turns


def _alpaca(raw: Mapping[str, Any]) -> tuple[Message, ...]:
    turns: list[Message] = []
    if raw.get("system"):
        turns.append(_system(raw["system"]))
    history = raw.get("history") or []
    if isinstance(history, str) or not isinstance(history, Sequence):
        raise BadRow("malformed-row", "history must be a list of question and answer")
    for item in history:
        if isinstance(item, str) or not isinstance(item, Sequence) or len(item) != 2:
            raise BadRow("malformed-row", "history must be a list of question and answer")
        turns += [user(parts_of(text_of(item[0], "history"))), assistant(text_of(item[1], "history"))]
    asked = text_of(raw.get("instruction"), "instruction")
    if raw.get("input"):
        asked += "\n" + text_of(raw["input"], "input")
    return (*turns, user(parts_of(asked)))


def _system(value: object) -> Message:
    return Message(role="system", content=(Part(type="text", text=text_of(value, "system")),))


def _spoken(turn: Message) -> dict[str, str]:
    return {"from": _SPEAKERS[turn.role], "value": plain_of(turn.content)}
