"""Answers of a Med-LVLM: how tokens are chosen, and the stock way to them, `model.generate`.

What shares images and questions stands in `mmedpo.engine.answers`, which everything asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmedpo.errors import ModelError
from mmedpo.models.encoding import ImageFeatures, as_encoded
from mmedpo.models.rows import image_inputs, row_inputs
from mmedpo.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class Decoding:
    """How answers are decoded."""

    max_new_tokens: int
    """Length limit, tokens; an answer cut by it is marked unfinished."""
    temperature: float = 0.0
    """0 decodes greedily."""
    top_p: float = 1.0
    """Nucleus; 1 keeps the whole vocabulary."""


@dataclass(frozen=True)
class Generated:
    """One decoded answer."""

    text: str
    """Stripped, special tokens removed."""
    finished: bool
    """False when the length limit came before the end-of-sequence token."""


class TokenChoice:
    """The next token of rows, greedy or drawn: an argmax over logits / T plus Gumbel noise of one generator per row.

    argmax(z + Gumbel) is a draw from softmax(z), and with a generator per row a sample does not
    depend on which other questions happened to share its batch.

    Args:
        decoding: temperature and nucleus.
        seeds: one per row; needed when the temperature is above 0.
    """

    def __init__(self, decoding: Decoding, seeds: Sequence[int] | None) -> None:
        self.decoding = decoding
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds or ()]

    def __call__(self, rows: Sequence[int], logits: Tensor) -> Tensor:
        """[rows, vocabulary] whose largest entry is the token chosen, float32.

        Args:
            rows: which rows these are; each draws from its own generator.
            logits: [rows, vocabulary].
        """
        logits = logits.float()
        if self.decoding.temperature == 0.0:
            return logits
        logits = logits / self.decoding.temperature
        if self.decoding.top_p < 1.0:
            ordered, index = logits.softmax(-1).sort(-1, descending=True)
            # Keep every token whose predecessors hold less than top_p: never empty.
            outside = ordered.cumsum(-1) - ordered >= self.decoding.top_p
            logits = logits.masked_fill(outside.scatter(-1, index, outside), float("-inf"))
        uniform = torch.stack([torch.rand(logits.shape[-1], generator=self.generators[row]) for row in rows])
        noise = -(-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()
        return logits + noise.to(logits.device)


@torch.no_grad()
def stock_answers(
    vlm: VisionLanguageModel,
    prompts: Sequence[Sequence[int]],
    features: Sequence[Sequence[ImageFeatures]],
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
) -> list[list[int]]:
    """Token ids of answers by the model's own `generate`, one padded row each, in one batch.

    Args:
        vlm: the model, with or without adapter.
        prompts: token ids.
        features: of the images each prompt shows, in order.
        decoding: limits and temperature.
        seeds: one per prompt; needed when the temperature is above 0.
    """
    from transformers import LogitsProcessorList

    choice, every = TokenChoice(decoding, seeds), range(len(prompts))
    shown = [image for images in features for image in images]
    moved = [image.map(lambda value: value.to(vlm.device)) for image in shown]
    # Ids and encoder outputs, not embeddings: some models find positions and visibility by their ids.
    output = vlm.model.generate(
        **row_inputs(vlm, prompts, [len(prompt) for prompt in prompts], left=True),
        **image_inputs(vlm, [image.size for image in shown]),
        mm_encoder_outputs=as_encoded(moved),
        do_sample=False,
        max_new_tokens=decoding.max_new_tokens,
        logits_processor=LogitsProcessorList([lambda ids, scores: choice(every, scores)]),
        pad_token_id=int(vlm.tokenizer.pad_token_id),
        eos_token_id=list(vlm.family.stops),
    )
    width = max(len(prompt) for prompt in prompts)
    rows: list[list[int]] = output[:, width:].tolist()
    return rows


def refuse_too_long(vlm: VisionLanguageModel, prompts: Sequence[Sequence[int]], decoding: Decoding) -> None:
    """Nothing is ever cut but an answer at its limit.

    Raises:
        ModelError: a prompt and the answer it may get do not fit into the context.
    """
    longest = max(prompts, key=len)
    if len(longest) + decoding.max_new_tokens > vlm.context_length:
        image = sum(token == vlm.image_token_id for token in longest)
        raise ModelError(
            f"a prompt of {len(longest)} tokens ({image} image) and max_new_tokens={decoding.max_new_tokens} exceed "
            f"the context of {vlm.context_length}; lower max_new_tokens, or drop the question"
        )


def read_answer(vlm: VisionLanguageModel, row: Sequence[int]) -> Generated:
    """Text of an answer's tokens up to the first that ends one."""
    stops = vlm.family.stops
    end = next((place for place, token in enumerate(row) if token in stops), None)
    return Generated(text=vlm.decode(row[:end]), finished=end is not None)
