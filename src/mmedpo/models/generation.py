"""Answers of a Med-LVLM: greedy or sampled, batched, each sample from its own seed."""

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


class _SeededGumbel:
    """Sampling as an argmax: logits / T plus Gumbel noise drawn from one generator per row.

    argmax(z + Gumbel) is a draw from softmax(z), and with a generator per row a sample does not
    depend on which other questions happened to share its batch.
    """

    def __init__(self, decoding: Decoding, seeds: Sequence[int]) -> None:
        self.decoding = decoding
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logits = scores.float() / self.decoding.temperature
        if self.decoding.top_p < 1.0:
            ordered, index = logits.softmax(-1).sort(-1, descending=True)
            # Keep every token whose predecessors hold less than top_p: never empty.
            outside = ordered.cumsum(-1) - ordered >= self.decoding.top_p
            logits = logits.masked_fill(outside.scatter(-1, index, outside), float("-inf"))
        uniform = torch.stack([torch.rand(logits.shape[-1], generator=generator) for generator in self.generators])
        noise = -(-uniform.clamp_min(1e-20).log()).clamp_min(1e-20).log()
        return logits + noise.to(logits.device)


@torch.no_grad()
def generate_answers(
    vlm: VisionLanguageModel,
    questions: Sequence[str],
    features: Sequence[Sequence[ImageFeatures]],
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
) -> list[Generated]:
    """Decodes one batch of answers.

    Args:
        vlm: the model, with or without adapter.
        questions: plain texts.
        features: of the images each question is asked about, in order.
        decoding: limits and temperature.
        seeds: one per question; needed when the temperature is above 0.

    Returns:
        One answer per question, in order.
    """
    from transformers import LogitsProcessorList

    prompts = [
        vlm.prompt_ids(question, [image.size for image in images])
        for question, images in zip(questions, features, strict=True)
    ]
    _refuse_too_long(vlm, prompts, decoding)
    processors = LogitsProcessorList()
    if decoding.temperature > 0.0:
        if seeds is None or len(seeds) != len(questions):
            raise ValueError("sampling needs one seed per question")
        processors.append(_SeededGumbel(decoding, seeds))
    stops = vlm.family.stops
    shown = [image for images in features for image in images]
    moved = [image.map(lambda value: value.to(vlm.device)) for image in shown]
    # Ids and encoder outputs, not embeddings: some models find positions and visibility by their ids.
    output = vlm.model.generate(
        **row_inputs(vlm, prompts, [len(prompt) for prompt in prompts], left=True),
        **image_inputs(vlm, [image.size for image in shown]),
        mm_encoder_outputs=as_encoded(moved),
        do_sample=False,
        max_new_tokens=decoding.max_new_tokens,
        logits_processor=processors,
        pad_token_id=int(vlm.tokenizer.pad_token_id),
        eos_token_id=list(stops),
    )
    width = max(len(prompt) for prompt in prompts)
    return [_generated(vlm, row[width:], stops) for row in output.tolist()]


def _refuse_too_long(vlm: VisionLanguageModel, prompts: Sequence[Sequence[int]], decoding: Decoding) -> None:
    longest = max(prompts, key=len)
    if len(longest) + decoding.max_new_tokens > vlm.context_length:
        image = sum(token == vlm.image_token_id for token in longest)
        raise ModelError(
            f"a prompt of {len(longest)} tokens ({image} image) and max_new_tokens={decoding.max_new_tokens} exceed "
            f"the context of {vlm.context_length}; lower max_new_tokens, or drop the question"
        )


def _generated(vlm: VisionLanguageModel, row: list[int], stops: frozenset[int]) -> Generated:
    end = next((place for place, token in enumerate(row) if token in stops), None)
    return Generated(text=vlm.decode(row[:end]), finished=end is not None)
