"""Objectives, as functions of branch log-probabilities. Pure: no model, no data.

Notation of the paper: a(y, x) = log pi(y|x) - log pi_0(y|x).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class PreferenceLoss(NamedTuple):
    """Loss of a batch and what it tells of the pairs."""

    loss: Tensor
    """Scalar."""
    chosen_reward: Tensor
    """[pairs] beta * a(y_w, x), detached."""
    rejected_reward: Tensor
    """[pairs] beta * a(y_l, x*), detached."""


def weighted_dpo(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    weights: Tensor,
    beta: float,
) -> PreferenceLoss:
    """Clinical-aware preference loss (MMedPO, Eq. 3; DPO of Rafailov et al. 2023 where all weights are 1).

    loss = - mean_i  s'_i * log sigmoid(beta * [a(y_w, x)_i - a(y_l, x*)_i])

    The mean is over the pairs, *not* divided by the sum of the weights: a pair of weight 0 adds
    nothing but still counts. At pi = pi_0 every term equals s'_i * ln 2.

    Shapes: every tensor is [pairs]; log-probabilities are summed over answer tokens, nats.
    """
    chosen = beta * (policy_chosen - reference_chosen)
    rejected = beta * (policy_rejected - reference_rejected)
    loss = -(weights * functional.logsigmoid(chosen - rejected)).mean()
    return PreferenceLoss(loss, chosen.detach(), rejected.detach())


def token_nll(total: Tensor, tokens: Tensor) -> Tensor:
    """Supervised fine-tuning: negative log-likelihood per answer token over the batch, a scalar.

    Shapes: both [answers]; `total` in nats.
    """
    return -total.sum() / tokens.sum()
