"""Plain rows: padded token ids and the inputs that go with them, for stock forward passes and generation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmedpo.models.family import Size
from mmedpo.models.vlm import VisionLanguageModel


def row_inputs(
    vlm: VisionLanguageModel, rows: Sequence[Sequence[int]], prompts: Sequence[int], *, left: bool
) -> dict[str, Tensor]:
    """Ids, attention mask and token types of rows, [rows, width of the longest] each.

    Args:
        vlm: the model they are for.
        rows: token ids.
        prompts: how many ids of each row are its prompt.
        left: pad on the left, for generation; else on the right.
    """
    named: list[dict[str, Sequence[int]]] = [
        {"input_ids": row, "attention_mask": [1] * len(row), **vlm.family.token_types(row, prompt)}
        for row, prompt in zip(rows, prompts, strict=True)
    ]
    width = max(len(row) for row in rows)
    fill = {"input_ids": int(vlm.tokenizer.pad_token_id)}

    def padded(name: str, values: Sequence[int]) -> list[int]:
        padding = [fill.get(name, 0)] * (width - len(values))
        return [*padding, *values] if left else [*values, *padding]

    return {name: torch.tensor([padded(name, row[name]) for row in named], device=vlm.device) for name in named[0]}


def image_inputs(vlm: VisionLanguageModel, sizes: Sequence[Size]) -> dict[str, Tensor]:
    """What the model wants to know of pictures beside their features, in order of their placeholders."""
    each = [vlm.family.image_inputs(size) for size in sizes]
    return {name: torch.cat([one[name] for one in each]).to(vlm.device) for name in (each[0] if each else ())}
