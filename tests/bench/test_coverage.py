"""The simulation of coverage: its truth by hand, and the stated rate in 5,000 sets."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bench.coverage import CASES, Bounds, Case, Found, Population, measure, table


def test_the_truth_of_a_population_is_its_mean_gain() -> None:
    plain = Population(10, 0.0, math.log(3), spread=0.0, gain_spread=0.0)
    assert plain.truth() == pytest.approx(3 / 4 - 1 / 2)
    rng = np.random.default_rng(0)
    mixed = Population(10, 0.5, 0.6, seed_spread=0.3)
    difficulty, gain = rng.normal(0.5, 1.0, 400_000), rng.normal(0.6, math.hypot(0.7, 0.3), 400_000)
    drawn = np.mean(1 / (1 + np.exp(-difficulty - gain)) - 1 / (1 + np.exp(-difficulty)))
    assert mixed.truth() == pytest.approx(drawn, abs=1e-3)
    assert Population(10, 0.5, 0.0, gain_spread=0.0).truth() == pytest.approx(0.0, abs=1e-12)


def test_an_interval_that_never_holds_the_truth_is_found_out() -> None:
    always = Case("everything", Population(5, 0.0, 0.5), lambda *_: Bounds(-1.0, 1.0))
    never = Case("nothing", Population(5, 0.0, 0.5), lambda *_: Bounds(0.9, 1.0))
    assert [measure(case, 20).held for case in (always, never)] == [20, 0]
    assert "| everything | 5 | 20 | 100.0 (± 0.0) | 200.0 |" in table([Found(always, 20, 20, 200.0)])


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}, {case.population.images}")
def test_intervals_cover_at_the_stated_rate_in_5000_sets(case: Case) -> None:
    """Within two points, of which chance in the sets takes 0.6."""
    found = measure(case, 5000)
    assert 0.93 <= found.share <= 0.975, found
