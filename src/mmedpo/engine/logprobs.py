"""log pi(answer | image, question), summed over the answer's tokens, end-of-sequence included.

Answers to the same question on the same image view share one row: the prompt once, then each answer,
which attends to the prompt and to itself (block mask, positions counted from the prompt). This is
exact: the log-probabilities are those of one sequence per answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmedpo.engine.branches import Branch
from mmedpo.engine.features import FeatureStore
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.progress import Advance


class BranchLogprobs(NamedTuple):
    """Log-probabilities of a batch of branches."""

    total: Tensor
    """[branches] sum over the answer's tokens, nats, float32."""
    tokens: Tensor
    """[branches] number of answer tokens, end-of-sequence included."""


class _Packed(NamedTuple):
    """Rows of prompts with all their answers, padded on the left."""

    ids: Tensor
    """[rows, width]"""
    positions: Tensor
    """[rows, width] position of each token in its own conversation."""
    block: Tensor
    """[rows, width] -1 padding, 0 prompt, a + 1 for the row's answer a."""
    keep: int
    """Columns at the end that predict something."""
    row: Tensor
    """[targets] row of each target token."""
    parent: Tensor
    """[targets] column, among the kept ones, that predicts it."""
    token: Tensor
    """[targets] the target token."""
    branch: Tensor
    """[targets] the branch it belongs to."""


def branch_logprobs(
    vlm: VisionLanguageModel, branches: Sequence[Branch], features: FeatureStore, model: Any = None
) -> BranchLogprobs:
    """Log-probability of every branch, differentiable with respect to the language model.

    Args:
        vlm: model and tokenizer.
        branches: at least one; equal ones are computed once each, so pass distinct ones.
        features: frozen image features.
        model: the module to call instead of `vlm.model`, e.g. its data-parallel wrapper.
    """
    rows: dict[tuple[Any, ...], list[int]] = {}
    for number, branch in enumerate(branches):
        rows.setdefault((branch.view, branch.prompt), []).append(number)
    members = list(rows.values())
    packed = _pack(branches, members, int(vlm.tokenizer.pad_token_id), vlm.device)
    embeddings = vlm.embed(packed.ids, features([branches[row[0]].view for row in members]))
    logits = (vlm.model if model is None else model)(
        inputs_embeds=embeddings,
        attention_mask=_mask(packed.block, embeddings.dtype),
        position_ids=packed.positions,
        logits_to_keep=packed.keep,
        use_cache=False,
    ).logits
    chosen = logits[packed.row, packed.parent].float()
    token_logprobs = chosen.log_softmax(-1).gather(-1, packed.token.unsqueeze(-1)).squeeze(-1)
    total = torch.zeros(len(branches), device=vlm.device).index_add(0, packed.branch, token_logprobs)
    return BranchLogprobs(total, torch.bincount(packed.branch, minlength=len(branches)))


@torch.no_grad()
def logprobs_in_batches(
    vlm: VisionLanguageModel,
    branches: Sequence[Branch],
    features: FeatureStore,
    batch_size: int = 32,
    advance: Advance | None = None,
) -> BranchLogprobs:
    """The same without gradients for any number of branches, each distinct one computed once."""
    # Neighbours share a prompt, and rows of one batch have similar lengths.
    distinct = sorted(set(branches), key=lambda b: (len(b.prompt), str(b.view), b.prompt, b.response))
    known: dict[Branch, tuple[Tensor, Tensor]] = {}
    for start in range(0, len(distinct), batch_size):
        batch = distinct[start : start + batch_size]
        result = branch_logprobs(vlm, batch, features)
        known.update({b: (t, n) for b, t, n in zip(batch, result.total.cpu(), result.tokens.cpu(), strict=True)})
        if advance:
            advance(start + len(batch), len(distinct))
    return BranchLogprobs(
        torch.stack([known[branch][0] for branch in branches]), torch.stack([known[branch][1] for branch in branches])
    )


def _pack(branches: Sequence[Branch], members: Sequence[Sequence[int]], pad: int, device: torch.device) -> _Packed:
    # The last token of an answer predicts nothing that is asked for: it needs no column.
    lengths = [len(branches[row[0]].prompt) + sum(len(branches[n].response) - 1 for n in row) for row in members]
    width = max(lengths)
    keep = 1 + max(length - len(branches[row[0]].prompt) for length, row in zip(lengths, members, strict=True))
    ids, positions, blocks = [], [], []
    targets: list[tuple[int, int, int, int]] = []
    for row_number, (length, row) in enumerate(zip(lengths, members, strict=True)):
        prompt = branches[row[0]].prompt
        padding = width - length
        row_ids = [pad] * padding + list(prompt)
        row_positions = [0] * padding + list(range(len(prompt)))
        row_block = [-1] * padding + [0] * len(prompt)
        last_of_prompt = len(row_ids) - 1
        for answer, number in enumerate(row, start=1):
            response = branches[number].response
            parents = [last_of_prompt, *range(len(row_ids), len(row_ids) + len(response) - 1)]
            offset = width - keep
            targets += [
                (row_number, parent - offset, token, number) for parent, token in zip(parents, response, strict=True)
            ]
            row_ids += response[:-1]
            row_positions += range(len(prompt), len(prompt) + len(response) - 1)
            row_block += [answer] * (len(response) - 1)
        ids.append(row_ids)
        positions.append(row_positions)
        blocks.append(row_block)
    columns = torch.tensor(targets, device=device).unbind(dim=1)
    return _Packed(
        torch.tensor(ids, device=device),
        torch.tensor(positions, device=device),
        torch.tensor(blocks, device=device),
        keep,
        *columns,
    )


def _mask(block: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask [rows, 1, width, width]: a token sees the prompt and its own answer up to itself."""
    width = block.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=block.device).tril()
    visible = causal & ((block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None]))
    hidden = torch.zeros(visible.shape, dtype=dtype, device=block.device)
    return hidden.masked_fill(~visible, torch.finfo(dtype).min).unsqueeze(1)
