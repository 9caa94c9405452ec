"""log pi(answer | image, question), summed over the answer's tokens, end-of-sequence included."""

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


def branch_logprobs(
    vlm: VisionLanguageModel, branches: Sequence[Branch], features: FeatureStore, model: Any = None
) -> BranchLogprobs:
    """Log-probability of every branch, differentiable with respect to the language model.

    Args:
        vlm: model and tokenizer.
        branches: at least one.
        features: frozen image features.
        model: the module to call instead of `vlm.model`, e.g. its data-parallel wrapper.
    """
    model = vlm.model if model is None else model
    device = vlm.device
    # Padded on the left, every answer ends in the last column: one slice of the logits serves all rows.
    width = max(len(branch.prompt) + len(branch.response) for branch in branches)
    longest = max(len(branch.response) for branch in branches)
    pad = int(vlm.tokenizer.pad_token_id)
    rows, masks = [], []
    for branch in branches:
        padding = width - len(branch.prompt) - len(branch.response)
        rows.append([pad] * padding + [*branch.prompt, *branch.response])
        masks.append([0] * padding + [1] * (width - padding))
    ids = torch.tensor(rows, device=device)
    mask = torch.tensor(masks, device=device)
    logits = model(
        inputs_embeds=vlm.embed(ids, features([branch.view for branch in branches])),
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp_min(0),
        logits_to_keep=longest + 1,
        use_cache=False,
    ).logits[:, :-1]
    targets = ids[:, -longest:]
    lengths = torch.tensor([len(branch.response) for branch in branches], device=device)
    is_target = torch.arange(longest, device=device) >= longest - lengths[:, None]
    token_logprobs = logits.float().log_softmax(-1).gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return BranchLogprobs(token_logprobs.masked_fill(~is_target, 0.0).sum(dim=1), lengths)


@torch.no_grad()
def logprobs_in_batches(
    vlm: VisionLanguageModel,
    branches: Sequence[Branch],
    features: FeatureStore,
    batch_size: int = 32,
    advance: Advance | None = None,
) -> BranchLogprobs:
    """The same without gradients for any number of branches, each distinct one computed once."""
    distinct = sorted(set(branches), key=lambda branch: len(branch.prompt) + len(branch.response))
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
