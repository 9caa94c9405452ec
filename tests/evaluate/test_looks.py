"""The score of looking: equal parts whatever their size, and no number while one is missing."""

from __future__ import annotations

import numpy as np
import pytest

from mmedpo.config import EvaluateSettings
from mmedpo.errors import EvaluationError, TooFewImages
from mmedpo.evaluate.looks import PARTS, Headlines, looks_score
from mmedpo.evaluate.probes import probes_of
from mmedpo.evaluate.statistics import mean_interval, mean_of_means


def part(base: list[float], tuned: list[float], mark: str) -> Headlines:
    names = [f"{mark}{n}" for n in range(len(base))]
    values = {"base": dict(zip(names, base, strict=True)), "tuned": dict(zip(names, tuned, strict=True))}
    return Headlines(values, {name: f"image{n}" for n, name in enumerate(names)})


def test_every_part_weighs_the_same_and_the_difference_is_paired() -> None:
    found = {name: part([0.0] * 8, [1.0] * 8, name) for name in PARTS[:-1]}
    found[PARTS[-1]] = part([1.0, 0.0], [1.0, 1.0], PARTS[-1])
    score = looks_score(found, PARTS, ["base", "tuned"], 500)
    assert score is not None
    told = {(m.model, m.against): m for m in score.means}
    assert told["base", ""].mean == pytest.approx(0.5 / 7)
    assert told["tuned", ""].mean == 1
    assert told["tuned", "base"].mean == pytest.approx(6.5 / 7)
    assert (told["tuned", ""].low, told["tuned", ""].high) == (1, 1)
    assert told["tuned", "base"].p_value is not None
    assert told["base", ""].p_value is None
    assert (score.images, score.questions) == (8, 50)


def test_there_is_no_number_while_a_part_is_missing_and_it_is_named() -> None:
    found = {name: part([0.0] * 3, [1.0] * 3, name) for name in PARTS[2:]}
    score = looks_score(found, PARTS[1:], ["base", "tuned"], 500)
    assert score is not None
    assert score.means == ()
    assert [(p.probe, p.missing) for p in score.parts if p.missing] == [
        (PARTS[0], "it is not among evaluate.probes"),
        (PARTS[1], "it had no question to ask, or one image only"),
    ]
    assert looks_score({}, ["lesion-reliance"], ["base"], 500) is None


def test_all_parts_are_shares_that_are_0_for_a_model_that_never_looks() -> None:
    probes = probes_of(EvaluateSettings.model_validate({"probes": {name: {} for name in PARTS}}))
    assert {probes[name].unit for name in PARTS} == {"of questions"}


def test_one_part_alone_has_the_interval_of_its_mean() -> None:
    rng = np.random.default_rng(1)
    values = {f"q{n}": float(v) for n, v in enumerate(rng.random(60))}
    clusters = {name: f"i{n // 3}" for n, name in enumerate(values)}
    assert mean_of_means([values], clusters, samples=400, seed=3) == mean_interval(
        values, clusters, samples=400, seed=3
    )
    assert mean_of_means([values, values], clusters, samples=400, seed=3).high == pytest.approx(
        mean_interval(values, clusters, samples=400, seed=3).high
    )


def test_it_is_refused_on_one_image_and_for_a_part_without_items() -> None:
    with pytest.raises(TooFewImages):
        mean_of_means([{"a": 1.0}, {"b": 0.0}], {"a": "i", "b": "i"}, samples=100, seed=0)
    with pytest.raises(EvaluationError):
        mean_of_means([{}, {"b": 0.0, "c": 1.0}], {"b": "i", "c": "j"}, samples=100, seed=0)


@pytest.mark.parametrize("sets", [200, pytest.param(5000, marks=pytest.mark.long)])
def test_its_intervals_cover_at_the_stated_rate(sets: int) -> None:
    """Two parts of 60 and 20 questions on 40 images whose questions are alike: truth is the mean of two shares."""
    rng = np.random.default_rng(0)
    images = [f"i{n}" for n in range(40)]
    clusters = {f"a{n}": images[n % 40] for n in range(60)} | {f"b{n}": images[n % 40] for n in range(20)}
    hit = 0
    for _ in range(sets):
        level = rng.normal(size=40)
        draw = [float(level[n % 40] + rng.normal() > 0.3) for n in range(60)]
        other = [float(level[n % 40] + rng.normal() > -0.5) for n in range(20)]
        parts = [{f"a{n}": v for n, v in enumerate(draw)}, {f"b{n}": v for n, v in enumerate(other)}]
        found = mean_of_means(parts, clusters, samples=400, seed=0)
        truth = (_above(0.3) + _above(-0.5)) / 2
        hit += found.low <= truth <= found.high
    assert 0.93 - 2 * (0.05 * 0.95 / sets) ** 0.5 < hit / sets < 0.975 + 2 * (0.05 * 0.95 / sets) ** 0.5


def _above(threshold: float) -> float:
    """P(N(0, 2) > threshold)."""
    from math import erf

    return 0.5 * (1 - erf(threshold / 2))
