"""From branch log-probabilities to what the losses see of a batch of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmedpo.engine import Branch, TokenLogprobs
from mmedpo.train.groups import BranchPair, TokenWeights
from mmedpo.train.losses import PairValues


def pair_values(
    pairs: Sequence[BranchPair],
    branches: Sequence[Branch],
    policy: TokenLogprobs,
    reference: Mapping[Branch, Tensor],
) -> PairValues:
    """Values of the pairs, differentiable with respect to the policy.

    Args:
        pairs: at least one.
        branches: what the policy was asked, each once; holds both sides of every pair.
        policy: its answer.
        reference: log pi_0 of every token of every branch, [tokens] each, float32.
    """
    number = {branch: index for index, branch in enumerate(branches)}
    frozen = torch.cat([reference[branch] for branch in branches]).to(policy.values.device)
    advantage = policy.values - frozen
    chosen = [number[pair.chosen] for pair in pairs]
    rejected = [number[pair.rejected] for pair in pairs]
    row = policy.values.new_tensor(chosen, dtype=torch.long)
    return PairValues(
        chosen=_side(advantage, policy, chosen, [pair.chosen_weights for pair in pairs]),
        rejected=_side(advantage, policy, rejected, [pair.rejected_weights for pair in pairs]),
        chosen_logprob=policy.totals()[row],
        chosen_tokens=policy.tokens[row],
        family=row,
        visual=torch.tensor([pair.kind == "visual" for pair in pairs], device=row.device),
        weight=policy.values.new_tensor([pair.weight for pair in pairs]),
    )


def _side(values: Tensor, policy: TokenLogprobs, rows: Sequence[int], weights: Sequence[TokenWeights]) -> Tensor:
    """[pairs] weighted sum of `values` over the answer of each pair's branch on one side."""
    lengths = policy.tokens.tolist()
    starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
    index = torch.cat([torch.arange(starts[row], starts[row + 1]) for row in rows]).to(values.device)
    owner = torch.arange(len(rows)).repeat_interleave(torch.tensor([lengths[row] for row in rows])).to(values.device)
    taken = values[index]
    if any(weights):
        flat = [w for row, own in zip(rows, weights, strict=True) for w in (own or (1.0,) * lengths[row])]
        taken = taken * taken.new_tensor(flat)
    return taken.new_zeros(len(rows)).index_add(0, owner, taken)
