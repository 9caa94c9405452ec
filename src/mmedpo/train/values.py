"""From branch log-probabilities to what the losses see of a batch of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmedpo.engine import Branch, TokenLogprobs
from mmedpo.train.forms import Compared, View, preferred, sides
from mmedpo.train.groups import BranchPair
from mmedpo.train.losses import PairValues

CLIP = 0.2
"""epsilon of PPO."""
NOTHING = Compared((), ())
"""A side that a pair does not have, or that was not asked for."""


def pair_values(
    pairs: Sequence[BranchPair],
    branches: Sequence[Branch],
    policy: TokenLogprobs,
    reference: Mapping[Branch, Tensor],
    view: View = View(),  # noqa: B008 - a constant
    frozen: TokenLogprobs | None = None,
) -> PairValues:
    """Values of the pairs under one view, differentiable with respect to the policy.

    Args:
        pairs: at least one.
        branches: what the policy was asked, each once; holds the preferred branch of every pair.
        policy: its answer.
        reference: log pi_0 of every token of the branches that terms compare with the reference, [tokens] each,
            float32; where a branch has none, its advantage is not a number.
        view: which answers under which images, and which tokens of them.
        frozen: the reference's answer to the same branches, where whole distributions are compared.
    """
    ask = _Asked(branches, policy, reference)
    both = [
        found if found is not None and ask.knows(*found) else None for pair in pairs for found in [sides(pair, view)]
    ]
    chosen = [
        found[0] if found else (preferred(pair, View()) or NOTHING) for pair, found in zip(pairs, both, strict=True)
    ]
    rejected = [found[1] if found else NOTHING for found in both]
    others = [_other(pair) if pair.other is not None and pair.other in ask.number else NOTHING for pair in pairs]
    forward, reverse = divergences(policy, frozen)
    device = policy.values.device
    return PairValues(
        chosen=ask.sums(chosen, ask.advantage),
        rejected=ask.sums(rejected, ask.advantage),
        chosen_logprob=ask.sums(chosen, policy.values),
        chosen_tokens=ask.tokens(chosen),
        family=torch.tensor([ask.number[pair.chosen] for pair in pairs], device=device),
        visual=torch.tensor([pair.kind == "visual" for pair in pairs], device=device),
        weight=policy.values.new_tensor([pair.weight for pair in pairs]),
        rejected_logprob=ask.sums(rejected, policy.values),
        rejected_tokens=ask.tokens(rejected),
        other_logprob=ask.sums(others, policy.values),
        answer=torch.tensor([pair.kind == "answer" for pair in pairs], device=device),
        complete=torch.tensor([found is not None for found in both], device=device),
        forward_kl=ask.sums(chosen, forward),
        reverse_kl=ask.sums(chosen, reverse),
        contrasted=torch.tensor([other is not NOTHING for other in others], device=device),
        gain=_gain(pairs, ask),
    )


def _gain(pairs: Sequence[BranchPair], ask: _Asked) -> Tensor:
    """[pairs] PPO's clipped surrogate less its value at the reference, which is what the answers were sampled from.

    Without that a step's loss told the rewards of the pairs it happened to hold, whatever was learnt.
    """
    ratio = ask.advantage.exp()
    gain = ratio.new_zeros(len(pairs))
    for sign, bounded in ((1.0, ratio.clamp(max=1 + CLIP) - 1), (-1.0, ratio.clamp(min=1 - CLIP) - 1)):
        sides = [
            Compared((pair.rejected,), (tuple(max(sign * r, 0.0) for r in pair.rewards),))
            if pair.rewards and pair.rejected is not None
            else NOTHING
            for pair in pairs
        ]
        gain = gain + sign * torch.nan_to_num(ask.sums(sides, bounded)) if any(sides) else gain
    return gain


def _other(pair: BranchPair) -> Compared:
    assert pair.other is not None
    return Compared((pair.other,), (pair.chosen_weights,))


def divergences(policy: TokenLogprobs, frozen: TokenLogprobs | None) -> tuple[Tensor, Tensor]:
    """[targets] KL(pi_0 || pi) and KL(pi || pi_0) of the token predicted there, nats; not numbers without `frozen`."""
    if frozen is None:
        unknown = torch.full_like(policy.values, float("nan"))
        return unknown, unknown
    assert policy.logits is not None
    assert frozen.logits is not None
    assert policy.node is not None
    p, q = policy.logits.log_softmax(-1), frozen.logits.log_softmax(-1)
    forward = (q.exp() * (q - p)).sum(-1)
    reverse = (p.exp() * (p - q)).sum(-1)
    return forward[policy.node], reverse[policy.node]


class _Asked:
    """What the policy said of each branch, and how it differs from the reference."""

    def __init__(self, branches: Sequence[Branch], policy: TokenLogprobs, reference: Mapping[Branch, Tensor]) -> None:
        self.number = {branch: index for index, branch in enumerate(branches)}
        lengths = policy.tokens.tolist()
        self.starts = [0, *torch.tensor(lengths).cumsum(0).tolist()]
        missing = (torch.full((length,), float("nan")) for length in lengths)
        frozen = [reference.get(branch, unknown) for branch, unknown in zip(branches, missing, strict=True)]
        self.advantage = policy.values - torch.cat(frozen).to(policy.values.device)

    def knows(self, *compared: Compared) -> bool:
        """Whether all of these were asked."""
        return all(branch in self.number for side in compared for branch in side.branches)

    def sums(self, compared: Sequence[Compared], values: Tensor) -> Tensor:
        """[pairs] weighted sum of `values` over the answers of each pair's side; not a number where it has none."""
        index: list[int] = []
        owner: list[int] = []
        flat: list[float] = []
        for pair, side in enumerate(compared):
            for branch, weights in zip(*side, strict=True):
                start, end = self._tokens(branch)
                index += range(start, end)
                owner += [pair] * (end - start)
                flat += weights or (1.0,) * (end - start)
        taken = values[torch.tensor(index, dtype=torch.long, device=values.device)]
        # What does not count is left out, not multiplied by 0: it may not be a number.
        weight = taken.new_tensor(flat)
        taken = torch.where(weight == 0, torch.zeros_like(taken), taken * weight)
        empty = values.new_tensor([0.0 if side.branches else float("nan") for side in compared])
        return empty.index_add(0, torch.tensor(owner, dtype=torch.long, device=values.device), taken)

    def tokens(self, compared: Sequence[Compared]) -> Tensor:
        """[pairs] tokens of weight above 0 on each pair's side."""
        counts = [
            sum(
                sum(w > 0 for w in weights) if weights else len(branch.response)
                for branch, weights in zip(*side, strict=True)
            )
            for side in compared
        ]
        return self.advantage.new_tensor(counts)

    def _tokens(self, branch: Branch) -> tuple[int, int]:
        number = self.number[branch]
        return self.starts[number], self.starts[number + 1]
