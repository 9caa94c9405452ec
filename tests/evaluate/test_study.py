"""Tables over arms and seeds: signs, means, and what they are corrected for."""

from __future__ import annotations

import pytest

from evaluate.scored import items, relied
from mmedpo.evaluate.probes.lesion_reliance import LesionReliance, LesionRelianceSettings
from mmedpo.evaluate.study import headline_interval, study_cells, study_contrasts, study_probe

BASE = [items([0, 0, 1, 1]), items([0, 0, 1, 1])]
BETTER = [items([1, 0, 1, 1], "tuned"), items([1, 1, 1, 1], "tuned")]
WORSE = [items([0, 0, 0, 1], "tuned"), items([0, 0, 0, 1], "tuned")]
PROBE = LesionReliance(LesionRelianceSettings(images=4))


def test_every_arm_minus_the_base_over_all_seeds() -> None:
    base, better, worse = study_cells("test", BASE, {"better": BETTER, "worse": WORSE}, samples=500)
    assert (base.arm, base.mean, base.difference, base.p_adjusted) == ("base", 0.5, None, None)
    assert (better.per_seed, better.mean, better.difference) == ((0.75, 1.0), 0.875, pytest.approx(0.375))
    assert worse.difference == pytest.approx(-0.25)
    assert (better.questions, better.images) == (4, 4)


def test_the_first_arm_minus_the_others() -> None:
    (found,) = study_contrasts("test", {"better": BETTER, "worse": WORSE}, "better", samples=500)
    assert (found.arm, found.against, found.difference) == ("better", "worse", pytest.approx(0.625))
    assert found.p_adjusted == found.p_value


def test_an_arm_that_looks_at_the_lesion_more_has_the_higher_reliance() -> None:
    base = [relied([(0.2, 0.1), (0.4, 0.1), (0.3, 0.3)])] * 2
    looks = [relied([(1.2, 0.1), (1.4, 0.1), (1.3, 0.3)], "tuned")] * 2
    away = [relied([(0.2, 0.6), (0.4, 0.6), (0.3, 0.8)], "tuned")] * 2
    first, more, less = study_probe(PROBE, base, {"looks": looks, "away": away}, samples=500)
    assert first.means == pytest.approx({"lesion": 0.3, "elsewhere": 0.5 / 3, "contrast": 0.4 / 3})
    assert (first.difference, first.p_value) == (None, None)
    assert more.means["contrast"] == pytest.approx(0.4 / 3 + 1.0)
    assert more.difference == pytest.approx(1.0)
    assert less.difference == pytest.approx(-0.5)
    assert more.low is not None
    assert more.low > 0
    assert headline_interval(PROBE, base[0], samples=500).estimate == pytest.approx(0.4 / 3)


def test_a_probe_without_rows_gives_no_table() -> None:
    assert study_probe(PROBE, [[]], {"arm": [[]]}, samples=500) == []


def test_one_table_is_corrected_as_a_whole() -> None:
    cells = study_cells("test", BASE, {"better": BETTER, "worse": WORSE, "same": BASE}, samples=500)
    p_values = [cell.p_value for cell in cells if cell.p_value is not None]
    adjusted = [cell.p_adjusted for cell in cells if cell.p_adjusted is not None]
    assert len(p_values) == len(adjusted) == 3
    assert min(adjusted) == pytest.approx(min(1.0, 3 * min(p_values)))
