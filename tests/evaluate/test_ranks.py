"""Rank correlations by hand, and their intervals over images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from mmedpo.evaluate.ranks import rank_correlation

IMAGES = ["a", "b", "c", "d"]


def test_one_swap_of_four_by_hand() -> None:
    found = rank_correlation([1, 2, 4, 3], [0.1, 0.2, 0.3, 0.4], IMAGES, 20)
    assert found is not None
    # Five of six pairs of things agree; the squared rank differences sum to 2.
    assert found.tau == pytest.approx((5 - 1) / 6)
    assert found.rho == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert (found.pairs, found.images) == (4, 4)
    assert found.tau_low <= found.tau <= found.tau_high


def test_ties_count_by_tau_b() -> None:
    found = rank_correlation([1, 1, 2], [1, 2, 3], ["a", "b", "c"], 20)
    assert found is not None
    assert found.tau == pytest.approx(2 / (2 * 3) ** 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_both_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = rng.integers(0, 9, 200) / 8
    scores = np.round(truths + rng.normal(0, 0.5, 200), 1)
    found = rank_correlation(scores.tolist(), truths.tolist(), [str(number // 4) for number in range(200)], 20)
    assert found is not None
    assert found.tau == pytest.approx(kendalltau(scores, truths).statistic)
    assert found.rho == pytest.approx(spearmanr(scores, truths).statistic)


def test_nothing_to_order_is_no_number() -> None:
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4], IMAGES, 20) is None
    assert rank_correlation([1, 2, 3, 4], [1, 1, 1, 1], IMAGES, 20) is None
    assert rank_correlation([1, 2, 3, 4], [1, 2, 3, 4], ["a"] * 4, 20) is None
    assert rank_correlation([], [], [], 20) is None


def test_questions_of_one_image_are_drawn_together() -> None:
    """Three images that say the same of all their things: whether one of them is drawn decides."""
    orders = ([*range(20)], [*range(19, -1, -1)], [*range(20)])
    scores, truths = [score for order in orders for score in order], [*range(20)] * 3
    few = rank_correlation(scores, truths, [str(number // 20) for number in range(60)], 60)
    many = rank_correlation(scores, truths, [str(number) for number in range(60)], 60)
    assert few is not None
    assert many is not None
    assert few.tau == many.tau
    assert few.tau_high - few.tau_low > many.tau_high - many.tau_low
