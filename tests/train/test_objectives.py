"""Eq. 3 against values derived by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.train.objectives import token_nll, weighted_dpo

LOGPROBS = st.floats(-50, 0, allow_nan=False)
WEIGHTS = st.floats(0, 2, allow_nan=False)


def loss_of(policy_w, policy_l, reference_w, reference_l, weights, beta=0.1):
    tensors = [torch.tensor(v, dtype=torch.float64) for v in (policy_w, policy_l, reference_w, reference_l, weights)]
    return weighted_dpo(*tensors, beta)


@given(st.lists(st.tuples(LOGPROBS, LOGPROBS, WEIGHTS), min_size=1, max_size=8))
def test_at_the_reference_every_term_is_its_weight_times_ln_2(rows):
    w, lo, weights = zip(*rows, strict=True)
    loss = loss_of(w, lo, w, lo, weights).loss
    assert loss.item() == pytest.approx(math.log(2) * sum(weights) / len(weights), abs=1e-12)


def test_two_pairs_by_hand():
    # Pair 1: a_w = -4 - (-5) = 1, a_l = -7 - (-6) = -1, beta 0.5: margin 0.5 * 2 = 1, weight 1.25.
    # Pair 2: a_w = -3 - (-3) = 0, a_l = -2 - (-4) = 2, margin -1, weight 0.75.
    result = loss_of([-4.0, -3.0], [-7.0, -2.0], [-5.0, -3.0], [-6.0, -4.0], [1.25, 0.75], beta=0.5)
    expected = (1.25 * math.log(1 + math.exp(-1)) + 0.75 * math.log(1 + math.exp(1))) / 2
    assert result.loss.item() == pytest.approx(expected, rel=1e-12)
    assert result.chosen_reward.tolist() == [0.5, 0.0]
    assert result.rejected_reward.tolist() == [-0.5, 1.0]


def test_a_pair_of_weight_zero_has_no_gradient_but_counts_in_the_mean():
    chosen = torch.tensor([-4.0, -3.0], requires_grad=True)
    rejected, zero = torch.tensor([-5.0, -6.0]), torch.zeros(2)
    loss = weighted_dpo(chosen, rejected, zero - 4, zero - 5, torch.tensor([1.0, 0.0]), 0.1).loss
    loss.backward()
    assert chosen.grad[1].item() == 0.0
    assert loss.item() == pytest.approx(math.log(2) / 2)


@given(LOGPROBS, LOGPROBS)
def test_raising_the_chosen_or_lowering_the_rejected_lowers_the_loss(w, lo):
    base = loss_of([w], [lo], [-10.0], [-10.0], [1.0]).loss
    assert loss_of([w + 1], [lo], [-10.0], [-10.0], [1.0]).loss < base
    assert loss_of([w], [lo - 1], [-10.0], [-10.0], [1.0]).loss < base


def test_token_nll_is_per_token_not_per_answer():
    assert token_nll(torch.tensor([-6.0, -2.0]), torch.tensor([3, 1])).item() == pytest.approx(2.0)
