"""Answers of a model: what they share is computed once.

One pass over the trie of all prompts reads every image once and every question once, whatever number of
questions an image has and of samples a question; each answer then goes on from there a token at a time,
together with the others, until it ends. Where a model was not shown to be exact under packing, or its
checkpoint asks for something special, every answer is a row of the model's own `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmedpo.engine.attention import PackedAttention
from mmedpo.engine.branches import Branch
from mmedpo.engine.continuation import Continuation, PromptAttention
from mmedpo.engine.layout import branch_symbols
from mmedpo.engine.logprobs import image_columns, layout_of, positions
from mmedpo.engine.trie import Trie
from mmedpo.imaging.pictures import image_files
from mmedpo.models.encoding import ImageFeatures, as_encoded
from mmedpo.models.generation import (
    Decoding,
    Generated,
    TokenChoice,
    read_answer,
    refuse_too_long,
    stock_answers,
)
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Example

FOLLOWED = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "max_length", "max_new_tokens", "use_cache"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("length_penalty", "cache_implementation", "transformers_version", "_from_model_config", "repetition_penalty"),
}
"""Entries of a generation configuration that change nothing in a greedy step, and the penalty, which is taken over."""
SINGLE = {"num_beams", "num_return_sequences"}
"""Entries that change nothing where they are 1."""


class Asked(NamedTuple):
    """A question on one image view or several."""

    views: tuple[Path, ...]
    """Image files shown, in order."""
    question: str
    """Plain text."""

    @classmethod
    def of(cls, example: Example, image_root: Path) -> Asked:
        """The question of an example, on all of its images."""
        return cls(image_files(image_root, example.images), example.question)


class Bounds(NamedTuple):
    """What a batch of answers may hold."""

    passed: int
    """Tokens of one forward pass."""
    kept: int
    """Tokens whose keys and values are kept: prompts, and answers at their longest."""


@torch.no_grad()
def decode_answers(
    vlm: VisionLanguageModel,
    asked: Sequence[Asked],
    images: Mapping[Path, ImageFeatures],
    decoding: Decoding,
    seeds: Sequence[int] | None,
    bounds: Bounds,
    *,
    shared: bool,
) -> list[Generated]:
    """One answer per question, in order; equal questions give as many answers.

    Args:
        vlm: the model, with or without adapter.
        asked: any number.
        images: features of every view.
        decoding: limits and temperature.
        seeds: one per question; needed when the temperature is above 0.
        bounds: of a batch.
        shared: compute what prompts begin with alike once.

    Raises:
        ModelError: a prompt and its answer exceed the model's context.
        ValueError: sampling without a seed for each question.
    """
    if decoding.temperature > 0.0 and (seeds is None or len(seeds) != len(asked)):
        raise ValueError("sampling needs one seed per question")
    if not asked:
        return []
    prompts = {question: _prompt(vlm, question, images) for question in dict.fromkeys(asked)}
    refuse_too_long(vlm, [branch.prompt for branch in prompts.values()], decoding)
    branches = [prompts[question] for question in asked]
    # Questions on one image, and samples of one question, stand together.
    order = sorted(range(len(asked)), key=lambda n: ([str(v) for v in branches[n].views], branches[n].prompt, n))
    answer = _shared_batch if shared else _stock_batch
    found: dict[int, list[int]] = {}
    for batch in _batches(vlm, order, branches, decoding.max_new_tokens, bounds, shared=shared):
        own = None if seeds is None else [seeds[number] for number in batch]
        found.update(zip(batch, answer(vlm, [branches[n] for n in batch], images, decoding, own), strict=True))
    return [read_answer(vlm, found[number]) for number in range(len(asked))]


def decodes_plainly(vlm: VisionLanguageModel) -> bool:
    """Whether the checkpoint's generation configuration asks for nothing but what is done here."""
    asks = {name: value for name, value in vlm.base.generation_config.to_diff_dict().items() if value}
    return all(name in FOLLOWED or (name in SINGLE and value == 1) for name, value in asks.items())


def decodes_by_likelihood(vlm: VisionLanguageModel) -> bool:
    """Whether every greedy token is the likeliest one: no penalty of the checkpoint's has a say in it."""
    return decodes_plainly(vlm) and vlm.base.generation_config.repetition_penalty in (None, 1.0)


def _prompt(vlm: VisionLanguageModel, question: Asked, images: Mapping[Path, ImageFeatures]) -> Branch:
    """The prompt, with one token behind it that is never looked at: a branch ends before its last."""
    sizes = tuple(images[view].size for view in question.views)
    return Branch(question.views, tuple(vlm.prompt_ids(question.question, sizes)), (-1,), sizes)


def _batches(
    vlm: VisionLanguageModel,
    order: Sequence[int],
    branches: Sequence[Branch],
    longest: int,
    bounds: Bounds,
    *,
    shared: bool,
) -> list[list[int]]:
    """Numbers of the answers, batch by batch; one alone is computed whatever it takes."""
    whole = vlm.family.both_ways == "prompt"
    symbols = branch_symbols([branches[n] for n in order], partial(image_columns, vlm), whole=whole)[0]
    batches: list[list[int]] = []
    trie = Trie()
    width = 0
    for number, sequence in zip(order, symbols, strict=True):
        trie.insert(sequence)
        width = max(width, len(sequence))
        rows = len(batches[-1]) + 1 if batches else 1
        tokens = trie.tokens if shared else rows * width
        if not batches or tokens > bounds.passed or tokens + rows * longest > bounds.kept:
            trie, width = Trie(), len(sequence)
            trie.insert(sequence)
            batches.append([])
        batches[-1].append(number)
    return batches


def _stock_batch(
    vlm: VisionLanguageModel,
    branches: Sequence[Branch],
    images: Mapping[Path, ImageFeatures],
    decoding: Decoding,
    seeds: Sequence[int] | None,
) -> list[list[int]]:
    prompts = [branch.prompt for branch in branches]
    features = [[images[view] for view in branch.views] for branch in branches]
    return stock_answers(vlm, prompts, features, decoding, seeds)


def _shared_batch(
    vlm: VisionLanguageModel,
    branches: Sequence[Branch],
    images: Mapping[Path, ImageFeatures],
    decoding: Decoding,
    seeds: Sequence[int] | None,
) -> list[list[int]]:
    distinct = list(dict.fromkeys(branches))
    layout = layout_of(vlm, distinct)
    number = {branch: place for place, branch in enumerate(distinct)}
    owner = [number[branch] for branch in branches]
    # Rows of one tree stand together.
    order = sorted(range(len(branches)), key=lambda row: int(layout.columns_of[owner[row]][0]))
    columns = [layout.columns_of[owner[row]] for row in order]
    continuation = Continuation(layout, columns, vlm.device, vlm.base.dtype)
    parents, place = np.unique(layout.parent, return_inverse=True)
    moved = [images[view].map(lambda value: value.to(vlm.device)) for view in layout.pictures]
    logits = _pass(
        vlm,
        torch.from_numpy(layout.ids),
        positions(vlm, distinct, layout),
        PromptAttention(layout, vlm.device, vlm.base.dtype, continuation),
        mm_encoder_outputs=as_encoded(moved) if moved else None,
        logits_to_keep=torch.from_numpy(parents).to(vlm.device),
    )[torch.from_numpy(place[[owner[row] for row in order]]).to(vlm.device)]
    choice = TokenChoice(decoding, None if seeds is None else [seeds[row] for row in order])
    answers = _go_on(vlm, [branches[row] for row in order], continuation, logits, choice)
    found = dict(zip(order, answers, strict=True))
    return [found[row] for row in range(len(branches))]


def _go_on(
    vlm: VisionLanguageModel,
    branches: Sequence[Branch],
    continuation: Continuation,
    logits: Tensor,
    choice: TokenChoice,
) -> list[list[int]]:
    """Token by token until every answer has ended, or come to its limit.

    Args:
        vlm: the model.
        branches: one per row.
        continuation: knows the prompts' keys and values.
        logits: [rows, vocabulary] behind the prompts.
        choice: of the tokens.
    """
    counted = [vlm.family.positions(branch.prompt, branch.pictures) for branch in branches]
    axes = 1 if counted[0] is None else len(counted[0])
    place = np.array(
        [len(b.prompt) if own is None else own.max() + 1 for b, own in zip(branches, counted, strict=True)]
    )
    penalty = vlm.base.generation_config.repetition_penalty
    answers: list[list[int]] = [[] for _ in branches]
    running = list(range(len(branches)))
    for step in range(choice.decoding.max_new_tokens):
        if penalty is not None and penalty != 1.0:
            logits = _penalised(penalty, logits, [[*branches[row].prompt, *answers[row]] for row in running])
        chosen = choice(running, logits).argmax(-1).tolist()
        for row, token in zip(running, chosen, strict=True):
            answers[row].append(token)
        running = [row for row in running if answers[row][-1] not in vlm.family.stops]
        if not running or step + 1 == choice.decoding.max_new_tokens:
            break
        continuation.advance(running)
        ids = torch.tensor([answers[row][-1] for row in running])
        at = torch.from_numpy(place[running] + step).expand(axes, 1, -1)
        logits = _pass(vlm, ids, at[0] if axes == 1 else at, continuation)
    return answers


def _pass(
    vlm: VisionLanguageModel, ids: Tensor, position_ids: Tensor, attention: PackedAttention, **inputs: Any
) -> Tensor:
    """[columns, vocabulary] logits of one packed sequence."""
    # A four-dimensional mask is handed on as it is: it keeps `transformers` from building one of its own.
    untouched = torch.zeros(1, 1, 1, 1, dtype=vlm.base.dtype, device=vlm.device)
    output = vlm.model(
        input_ids=ids.unsqueeze(0).to(vlm.device),
        position_ids=position_ids.to(vlm.device),
        attention_mask=untouched,
        trie=attention,
        use_cache=False,
        **inputs,
    )
    logits: Tensor = output.logits[0]
    return logits


def _penalised(penalty: float, logits: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """[rows, vocabulary] with the checkpoint's own penalty on the tokens of each row."""
    from transformers import RepetitionPenaltyLogitsProcessor

    process: Any = RepetitionPenaltyLogitsProcessor(penalty)
    each = zip(rows, logits.float(), strict=True)
    return torch.cat([process(torch.tensor([ids], device=row.device), row[None]) for ids, row in each])
