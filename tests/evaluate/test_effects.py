"""Seeds as a random effect, effect sizes and equal length: against statsmodels 0.15 and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.scored import items
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.comparison import MINIMUM_BY_TYPE, compare_at_equal_length, compare_by_tag
from mmedpo.evaluate.effects import length_controlled, seed_effect, standardised

# Four seeds on twelve images; `smf.mixedlm("y ~ 1", groups=one, vc_formula={seed, image})` by REML gives the numbers.
TABLE = [
    [0.367, 0.294, -0.008, 0.297, 0.151, 1.712, 0.583, 0.199, 0.285, 0.314, 0.477, 0.235],
    [-0.468, -0.148, -1.067, -0.411, -0.366, 0.83, -0.197, -0.255, -0.933, -0.28, -0.792, -0.734],
    [0.082, 0.238, -0.532, -0.122, -0.092, 1.149, 0.512, 0.206, 0.117, 0.185, -0.195, -0.14],
    [-0.004, 0.067, -0.634, -0.211, -0.199, 0.513, 0.221, 0.007, -0.397, -0.173, -0.495, 0.049],
]
GROUPS = [0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4, 4, 4, 5, 5]
LONGER = [-0.72, -0.16, 0.65, 0.88, -0.78, 0.05, 0.46, 0.0, 1.1, -0.3, 0.48, -0.22, 1.0, 0.29, 0.11]
AFTER = [0.49, 0.85, 0.97, 0.71, 0.21, 0.54, 0.71, 0.05, 0.68, 0.37, 0.59, 0.67, 0.67, 0.52, 0.55]
BEFORE = [0.2, 0.5, 0.13, 0.48, 0.54, 0.77, 0.39, 0.02, 0.53, 0.21, 0.74, 0.39, 0.38, 0.91, 0.39]


def named(values: list[float]) -> dict[str, float]:
    return {f"q{number}": value for number, value in enumerate(values)}


def runs_of(table: list[list[float]]) -> list[tuple[dict[str, float], dict[str, float]]]:
    return [(named(row), dict.fromkeys(named(row), 0.0)) for row in table]


OWN_IMAGE = {f"q{number}": f"image {number}" for number in range(60)}
IMAGES = {f"q{number}": f"image {group}" for number, group in enumerate(GROUPS)}


def test_seeds_and_images_as_random_effects_are_those_of_a_mixed_model() -> None:
    found = seed_effect(runs_of(TABLE), OWN_IMAGE)
    assert found is not None
    assert (found.seeds, found.images) == (4, 12)
    assert found.estimate == pytest.approx(0.004938, abs=1e-6)
    assert found.standard_error == pytest.approx(0.203631, rel=1e-3)
    assert found.seed_sd == pytest.approx(math.sqrt(0.115012), rel=1e-3)
    assert found.image_sd == pytest.approx(math.sqrt(0.144356), rel=1e-3)
    assert found.low < found.estimate - 1.96 * found.standard_error


def test_seeds_that_agree_leave_the_spread_of_the_images() -> None:
    """Three equal seeds are one: the interval is that of a t test on the images."""
    row = [0.1, 0.4, -0.2, 0.3]
    found = seed_effect(runs_of([row] * 3), OWN_IMAGE)
    assert found is not None
    assert found.seed_sd == 0.0
    error = float(np.std(row, ddof=1)) / 2
    assert found.standard_error == pytest.approx(error)
    assert found.high - found.estimate == pytest.approx(3.182446 * error)  # t with three degrees of freedom


def test_one_seed_tells_nothing_of_seeds() -> None:
    assert seed_effect(runs_of(TABLE[:1]), OWN_IMAGE) is None
    assert seed_effect(runs_of([[0.1, 0.2], [0.3, 0.1]]), dict.fromkeys(OWN_IMAGE, "one")) is None


@given(st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), min_size=2, max_size=4), st.permutations(range(4)))
def test_the_order_of_questions_and_seeds_does_not_matter(table: list[list[float]], order: list[int]) -> None:
    clusters = {"q0": "a", "q1": "a", "q2": "b", "q3": "c"}
    one = seed_effect(runs_of(table), clusters)
    shuffled = [
        ({f"q{n}": row[n] for n in order}, dict.fromkeys([f"q{n}" for n in order], 0.0)) for row in reversed(table)
    ]
    other = seed_effect(shuffled, clusters)
    assert one is not None
    assert other is not None
    for field in ("estimate", "low", "high", "seed_sd"):
        assert getattr(one, field) == pytest.approx(getattr(other, field), abs=1e-6)
    assert one.estimate == pytest.approx(np.mean(table), abs=1e-12)


def test_the_effect_is_the_mean_over_the_spread_of_questions() -> None:
    assert standardised(named(AFTER), named(BEFORE)) == pytest.approx(0.425556, abs=1e-6)
    assert standardised({"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.0}) is None
    assert standardised({"a": 1.0}, {"a": 0.0}) is None


def test_the_difference_at_equal_length_is_the_intercept_of_a_clustered_regression() -> None:
    """`sm.OLS(...).fit(cov_type="cluster", use_t=True)`."""
    found = length_controlled(named(AFTER), named(BEFORE), named(LONGER), IMAGES)
    assert found is not None
    assert found.estimate == pytest.approx(0.10610826, abs=1e-8)
    assert found.per_unit == pytest.approx(0.14379439, abs=1e-8)
    assert (found.low, found.high) == (pytest.approx(-0.18024739, abs=1e-7), pytest.approx(0.39246391, abs=1e-7))


def test_what_length_alone_explains_is_gone_and_without_lengths_nothing_is_said() -> None:
    longer = named([0.1 * number for number in range(10)])
    half = {name: value / 2 for name, value in longer.items()}
    found = length_controlled(half, dict.fromkeys(longer, 0.0), longer, OWN_IMAGE)
    assert found is not None
    assert (found.estimate, found.per_unit) == (pytest.approx(0.0, abs=1e-12), pytest.approx(0.5))
    assert length_controlled(half, longer, dict.fromkeys(longer, 0.7), OWN_IMAGE) is None
    with pytest.raises(EvaluationError, match=r"10 item\(s\) without length or image"):
        length_controlled(half, longer, {}, OWN_IMAGE)


def test_organs_and_modalities_are_told_apart_where_there_are_several() -> None:
    n = MINIMUM_BY_TYPE
    scored = [*items([0.0] * 2 * n), *items([1.0] * n + [0.0] * n, "tuned")]
    tags = {f"q{k}": ("modality:xray", "organ:chest" if k < n else "organ:head", "finding:x") for k in range(2 * n)}
    found = compare_by_tag(scored, ("base", "tuned"), "strict", "test", 200, tags)
    assert [(item.tag, item.difference, item.questions) for item in found] == [
        ("organ:chest", 1.0, n),
        ("organ:head", 0.0, n),
    ]


def test_equal_length_is_said_of_every_later_model_whose_lengths_differ() -> None:
    scored = [*items([0.0, 0.0, 0.0, 1.0]), *items([1.0, 0.0, 1.0, 1.0], "long"), *items([0.0] * 4, "same")]
    short = {f"q{k}": "yes" for k in range(4)}
    texts = {"base": short, "long": {f"q{k}": "yes " * (k + 1) for k in range(4)}, "same": short}
    (found,) = compare_at_equal_length(scored, ("base", "long", "same"), "strict", ("test",), texts)
    assert (found.model, found.against, found.questions) == ("long", "base", 4)
    x = np.log([(k + 2) / 2 for k in range(4)])
    assert found.difference == pytest.approx(np.polyfit(x, [1.0, 0.0, 1.0, 0.0], 1)[1])
