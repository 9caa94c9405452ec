"""Intervals that cover, differences that are antisymmetric, p-values that agree with them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.errors import EvaluationError
from mmedpo.evaluate.statistics import (
    holm,
    mean_interval,
    paired_difference,
    paired_difference_over_seeds,
)

values = st.lists(st.floats(0, 1), min_size=6, max_size=6)
DRAWS = 10_000
CLUSTERS = {f"q{n}": f"image{n // 2}" for n in range(6)}


def named(numbers: list[float]) -> dict[str, float]:
    return {f"q{n}": value for n, value in enumerate(numbers)}


@settings(max_examples=30)
@given(values, values)
def test_swapping_the_models_negates(a: list[float], b: list[float]) -> None:
    forth = paired_difference(named(a), named(b), CLUSTERS, samples=200, seed=3)
    back = paired_difference(named(b), named(a), CLUSTERS, samples=200, seed=3)
    assert back.estimate == pytest.approx(-forth.estimate, abs=1e-12)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=1e-12)
    assert forth.low <= forth.high


@settings(max_examples=30)
@given(values)
def test_a_model_against_itself_has_no_width(a: list[float]) -> None:
    same = paired_difference(named(a), named(a), CLUSTERS, samples=200, seed=0)
    assert (same.estimate, same.low, same.high) == (0.0, 0.0, 0.0)


@settings(max_examples=20)
@given(values, values, st.permutations(range(6)))
def test_the_order_of_items_does_not_matter(a: list[float], b: list[float], order: list[int]) -> None:
    reordered = {f"q{n}": a[n] for n in order}
    assert paired_difference(named(a), named(b), CLUSTERS, samples=50, seed=0) == paired_difference(
        reordered, named(b), {f"q{n}": CLUSTERS[f"q{n}"] for n in order}, samples=50, seed=0
    )


def test_two_images_by_hand() -> None:
    # Image x holds one question (difference 1), image y three (difference 0). Resamples: xx -> 1, yy -> 0 and
    # xy -> 1/4, with probabilities 1/4, 1/4, 1/2; the estimate is 1/4, not the mean 1/2 of the image means.
    a = {"q0": 1.0, "q1": 0.0, "q2": 0.0, "q3": 0.0}
    b = dict.fromkeys(a, 0.0)
    clusters = {"q0": "x", "q1": "y", "q2": "y", "q3": "y"}
    interval = paired_difference(a, b, clusters, samples=DRAWS, seed=0)
    assert (interval.estimate, interval.low, interval.high) == (0.25, 0.0, 1.0)
    assert (interval.n_items, interval.n_clusters, interval.n_seeds) == (4, 2, 1)
    # Level 0.2, widened for 2 images, cuts at Phi(-sqrt(2) * 0.325) = 0.32: inside the middle value's half.
    narrow = paired_difference(a, b, clusters, level=0.2, samples=DRAWS, seed=0)
    assert (narrow.low, narrow.high) == (0.25, 0.25)


def test_correlated_questions_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    per_image = rng.integers(0, 2, 40)
    a = {f"q{n}": float(per_image[n // 10]) for n in range(400)}
    b = dict.fromkeys(a, 0.5)
    by_image = paired_difference(a, b, {f"q{n}": str(n // 10) for n in range(400)}, samples=DRAWS, seed=0)
    by_question = paired_difference(a, b, {f"q{n}": str(n) for n in range(400)}, samples=DRAWS, seed=0)
    # Ten copies of every answer: the standard error grows by sqrt(10).
    assert (by_image.high - by_image.low) / (by_question.high - by_question.low) == pytest.approx(10**0.5, rel=0.1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    repeats, covered = 300, 0
    for repeat in range(repeats):
        rng = np.random.default_rng([7, repeat])
        image = np.repeat(np.arange(40), rng.integers(1, 7, 40))
        effect = 0.1 + rng.normal(0, 0.3, 40)[image] + rng.normal(0, 0.4, len(image))
        a = {str(n): float(value) for n, value in enumerate(effect)}
        clusters = {str(n): str(image[n]) for n in range(len(image))}
        interval = paired_difference(a, dict.fromkeys(a, 0.0), clusters, samples=500, seed=repeat)
        covered += interval.low <= 0.1 <= interval.high
    assert 0.90 <= covered / repeats <= 0.99


def test_the_two_way_interval_covers_a_fresh_training_seed_too() -> None:
    repeats, covered, naive = 200, 0, 0
    clusters = {str(n): str(n // 4) for n in range(160)}
    for repeat in range(repeats):
        rng = np.random.default_rng([8, repeat])
        shared = np.repeat(rng.normal(0, 0.2, 40), 4)
        runs = []
        for _ in range(5):
            effect = 0.1 + rng.normal(0, 0.1) + shared + rng.normal(0, 0.3, 160)
            a = {str(n): float(value) for n, value in enumerate(effect)}
            runs.append((a, dict.fromkeys(a, 0.0)))
        interval = paired_difference_over_seeds(runs, clusters, samples=400, seed=repeat)
        covered += interval.low <= 0.1 <= interval.high
        mean = {item: sum(a[item] for a, _ in runs) / 5 for item in clusters}
        blind = mean_interval(mean, clusters, samples=400, seed=repeat)
        naive += blind.low <= 0.1 <= blind.high
        assert interval.estimate == pytest.approx(blind.estimate)
        assert interval.n_seeds == 5
    assert 0.88 <= covered / repeats <= 0.99
    # Resampling images alone takes the luck of five trainings for the truth.
    assert naive < covered - 0.05 * repeats


def test_one_run_is_the_plain_paired_difference() -> None:
    a, b = named([1, 0, 1, 1, 0, 1]), named([0, 0, 1, 0, 0, 1])
    assert paired_difference_over_seeds([(a, b)], CLUSTERS, samples=DRAWS, seed=5) == paired_difference(
        a, b, CLUSTERS, samples=DRAWS, seed=5
    )


def test_ten_thousand_resamples_depend_on_their_seed_alone() -> None:
    rng = np.random.default_rng(1)
    a = {str(n): float(value) for n, value in enumerate(rng.integers(0, 2, 2000))}
    b = {str(n): float(value) for n, value in enumerate(rng.integers(0, 2, 2000))}
    clusters = {str(n): str(n % 300) for n in range(2000)}
    first = paired_difference(a, b, clusters, samples=DRAWS, seed=9)
    assert first == paired_difference(a, b, clusters, samples=DRAWS, seed=9)
    assert first != paired_difference(a, b, clusters, samples=DRAWS, seed=10)


@pytest.mark.parametrize(
    ("a", "b", "clusters", "message"),
    [
        ({"q0": 1.0}, {"q1": 1.0}, CLUSTERS, "differ in 2 item"),
        ({"q0": 1.0, "q1": 0.0}, {"q0": 1.0, "q1": 0.0}, CLUSTERS, "at least 2 images, got 1"),
        ({"q0": 1.0}, {"q0": 0.0}, {}, "without an image: q0"),
        ({}, {}, CLUSTERS, "no items"),
        ({"q0": float("nan"), "q2": 1.0}, {"q0": 0.0, "q2": 0.0}, CLUSTERS, "'q0' is not a finite number"),
    ],
)
def test_faulty_input_is_refused(
    a: dict[str, float], b: dict[str, float], clusters: dict[str, str], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        paired_difference(a, b, clusters, samples=DRAWS, seed=0)


def test_seeds_over_different_items_are_refused() -> None:
    a, b = named([1, 0, 1, 1, 0, 1]), named([0, 0, 1, 0, 0, 1])
    short = {key: value for key, value in a.items() if key != "q5"}
    with pytest.raises(EvaluationError, match="run 1 and run 2 differ in 1 item"):
        paired_difference_over_seeds([(a, b), (short, short)], CLUSTERS, samples=DRAWS, seed=0)
    with pytest.raises(EvaluationError, match="no runs"):
        paired_difference_over_seeds([], CLUSTERS, samples=DRAWS, seed=0)
    with pytest.raises(EvaluationError, match="level"):
        paired_difference(a, b, CLUSTERS, level=95, samples=DRAWS, seed=0)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 -> 3 * 0.01, 2 * 0.03, then at least as large as the one before.
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    with pytest.raises(EvaluationError, match=r"\[0, 1\]"):
        holm({"a": 1.2})


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(p_values: dict[str, float]) -> None:
    adjusted = holm(p_values)
    for name, value in p_values.items():
        assert value <= adjusted[name] <= min(1.0, len(p_values) * value) + 1e-12
    ranked = sorted(p_values, key=lambda name: p_values[name])
    assert all(adjusted[x] <= adjusted[y] for x, y in pairwise(ranked))


def test_the_tails_of_five_images_by_hand() -> None:
    # Five images of one question, differences 0, 0, 0, 0, 1: a resample's mean is k / 5 with k ~ Binomial(5, 1/5),
    # P(k >= 3) = 0.0579. The nominal cut of level 0.85, 0.075, would end at 2/5. The expanded one is
    # Phi(-sqrt(5/4) * t_4(0.925)) = Phi(-1.1180 * 1.7782) = Phi(-1.9881) = 0.0234 and ends at 3/5.
    a, b = named([0, 0, 0, 0, 1]), named([0] * 5)
    clusters = {item: item for item in a}
    wide = paired_difference(a, b, clusters, samples=100_000, level=0.85, seed=0)
    assert (wide.low, wide.high) == (0.0, pytest.approx(0.6))


def test_the_p_value_of_two_images_by_hand() -> None:
    # Resamples of (1, 0): 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4. At or below 0 lie 1/4; Phi^-1(0.25) = -0.6745,
    # over sqrt(2) = -0.4769; t_1 is Cauchy: 2 * (1/2 - atan(0.4769) / pi) = 0.7168.
    a, b = {"q0": 1.0, "q1": 0.0}, {"q0": 0.0, "q1": 0.0}
    interval = paired_difference(a, b, {"q0": "x", "q1": "y"}, samples=100_000, seed=0)
    assert interval.p_value == pytest.approx(0.7168, abs=0.005)


@settings(max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=3, max_size=14), st.sampled_from([0.8, 0.9, 0.95]))
def test_the_p_value_and_the_interval_say_the_same(differences: list[int], level: float) -> None:
    a = named([float(value) for value in differences])
    found = paired_difference(a, dict.fromkeys(a, 0.0), {item: item for item in a}, samples=2_000, level=level, seed=0)
    assert 0 < found.p_value <= 1
    n = len(differences)

    def expanded(tail: float) -> float:
        return float(scipy.stats.norm.cdf(math.sqrt(n / (n - 1)) * scipy.stats.t.ppf(tail, n - 1)))

    # They may differ by one resample of 2,000: the estimate counts as one for p, and quantiles interpolate.
    beyond, cut = expanded(found.p_value / 2), expanded((1 - level) / 2)
    if beyond < cut - 1 / 1_999:
        assert found.low > 0 or found.high < 0
    if beyond > cut + 1 / 1_999:
        assert found.low <= 0 <= found.high


def test_models_that_never_differ_have_the_largest_p_value_and_none_is_zero() -> None:
    same = paired_difference(named([1, 0, 1, 1, 0, 1]), named([1, 0, 1, 1, 0, 1]), CLUSTERS, samples=200, seed=0)
    assert same.p_value == 1.0
    apart = paired_difference(named([1.0] * 6), named([0.0] * 6), CLUSTERS, samples=200, seed=0)
    assert 0 < apart.p_value < 0.2


def test_rounding_is_no_difference() -> None:
    """0.1 + 0.2 is above 0.3 by 5.6e-17, for every question: no interval may exclude 0 for that."""
    after = {f"q{n}": 0.1 + 0.2 for n in range(30)}
    before = dict.fromkeys(after, 0.3)
    assert after["q0"] > before["q0"]
    found = paired_difference(after, before, {name: name for name in after}, samples=200, seed=0)
    assert (found.low, found.high, found.p_value) == (0.0, 0.0, 1.0)
