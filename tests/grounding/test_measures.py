"""Measures by hand: what a wrong one would cost is a tool that seems to see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.grounding.comparison import CENTRE, POSITION, SIZE, Case, beats, compare, position_priors, shrink
from mmedpo.grounding.measures import (
    auc_by_patient,
    calibration,
    calibration_error,
    centre_prior,
    energy,
    mean_by_patient,
    overlap,
    pixel_auc,
    pointing,
)

LESION = np.array([[True, True, False, False]])


def test_a_tied_peak_counts_by_its_share() -> None:
    assert pointing(np.array([[0.2, 1.0, 1.0, 1.0]]), LESION) == pytest.approx(1 / 3)
    assert pointing(np.array([[0.0, 1.0, 0.9, 0.0]]), LESION) == 1
    # A constant map points everywhere: the lesion's share of the area.
    assert pointing(np.ones((1, 4)), LESION) == 0.5


def test_energy_overlap_and_pixel_auc_by_hand() -> None:
    values = np.array([[0.6, 0.1, 0.3, 0.0]])
    assert energy(values, LESION) == pytest.approx(0.7)
    assert energy(np.zeros((1, 4)), LESION) == 0
    # at half of 0.6: places 0 and 2; together with the lesion 0, 1, 2
    assert overlap(values, LESION, 0.5) == pytest.approx(1 / 3)
    assert overlap(np.zeros((1, 4)), LESION, 0.5) == 0
    # pairs 0.6>0.3, 0.6>0, 0.1<0.3, 0.1>0
    assert pixel_auc(values, LESION) == 0.75
    assert np.isnan(pixel_auc(values, np.ones((1, 4), dtype=bool)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.booleans())
def test_no_measure_depends_on_left_and_right(seed: int, upright: bool) -> None:
    rng = np.random.default_rng([seed])
    values, lesion = rng.integers(0, 4, (6, 7)).astype(float), rng.random((6, 7)) < 0.3
    lesion[2, 3] = True
    flipped = (values[:, ::-1], lesion[:, ::-1]) if upright else (values[::-1], lesion[::-1])
    for measure in (pointing, energy, pixel_auc):
        assert measure(values, lesion) == pytest.approx(measure(*flipped), nan_ok=True)


def test_a_patient_with_many_films_counts_once() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0, np.nan])
    number = mean_by_patient(values, np.array([0, 0, 0, 1, 2]), seed=0)
    assert number.value == 0.5
    assert (number.n, number.patients) == (4, 2)
    assert (number.low, number.high) == (0, 1)


def test_nothing_scored_is_not_a_number() -> None:
    number = mean_by_patient(np.array([np.nan]), np.array([0]), seed=0)
    assert np.isnan(number.value)
    assert number.n == 0


def test_the_interval_of_an_auc_draws_patients() -> None:
    scores, positive = np.array([0.9, 0.9, 0.1, 0.1]), np.array([True, True, False, False])
    # one patient holds both kinds: every draw of him alone is perfect
    assert auc_by_patient(scores, positive, np.array([0, 0, 0, 0]), seed=1).low == 1


def test_calibration_weighs_both_kinds_alike() -> None:
    sure = np.full(100, 0.5)
    positive = np.arange(100) < 5
    # 5 of 100 have a lesion; as if half had one, 0.5 is exactly right
    assert calibration(sure, positive) == [(0.5, pytest.approx(0.5), 100)]
    assert calibration_error(sure, positive) == pytest.approx(0)
    assert calibration_error(sure + 0.2, positive) == pytest.approx(0.2)
    perfect = positive.astype(float)
    assert calibration_error(perfect, positive) == pytest.approx(0)
    assert calibration_error(1 - perfect, positive) == pytest.approx(1)
    assert np.isnan(calibration_error(sure, np.zeros(100, dtype=bool)))


def test_the_centre_prior_is_symmetric_with_its_peak_in_the_middle() -> None:
    bump = centre_prior(5, 9)
    assert bump.argmax() == 2 * 9 + 4
    assert np.allclose(bump, bump[::-1, ::-1])


def square(row: int, column: int, size: int = 60) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[row : row + size, column : column + size] = True
    return mask


def case(number: int, mask: np.ndarray, **more: object) -> Case:
    told = {"normal": False, "projection": "pa", **more}
    return Case(image=f"i{number}", patient=f"p{number}", lesion=mask, **told)  # type: ignore[arg-type]


def test_the_position_prior_of_a_patient_knows_nothing_of_him() -> None:
    cases = [case(number, square(10, 10)) for number in range(6)]
    lonely = case(9, square(150, 150))
    priors = position_priors([*cases, lonely])
    assert priors[-1][180, 180] == 0
    assert priors[-1][40, 40] == pytest.approx(1, abs=1e-3)


def test_a_prior_is_of_its_projection_where_enough_patients_have_it() -> None:
    cases = [case(number, square(10, 10)) for number in range(6)]
    cases += [case(10 + number, square(150, 150), projection="ap") for number in range(6)]
    priors = position_priors(cases)
    assert priors[0][180, 180] == 0
    assert priors[-1][40, 40] == 0


def test_a_tool_that_sees_beats_the_prior_and_one_that_repeats_it_does_not() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for number in range(16):
        mask = square(int(rng.integers(0, 160)), int(rng.integers(0, 160)))
        cases.append(
            case(number, mask, maps={"seer": mask.astype(np.float32), "parrot": square(80, 80).astype(np.float32)})
        )
    lines = compare(cases, ("seer", "parrot"))
    assert beats(lines, "seer", "projection pa")
    assert not beats(lines, "parrot", "projection pa")
    peak = {line.who: line.number.value for line in lines if line.group == "all" and line.measure == "peak in lesion"}
    assert peak["seer"] == 1
    assert peak["seer - " + CENTRE] == pytest.approx(1 - peak[CENTRE])
    assert peak["seer - " + POSITION] == pytest.approx(1 - peak[POSITION])


def test_an_image_without_a_map_is_unscored_not_zero() -> None:
    cases = [case(number, square(10, 10), maps={"t": square(10, 10).astype(np.float32)}) for number in range(6)]
    cases.append(case(7, square(10, 10)))
    (line,) = (x for x in compare(cases, ("t",)) if (x.group, x.measure, x.who) == ("all", "peak in lesion", "t"))
    assert (line.number.value, line.number.n) == (1, 6)


def test_confidence_is_set_against_normals_of_the_same_projection_only() -> None:
    """Sure of every AP film and of no PA film: over all it seems to know; within a projection it knows nothing."""
    cases = []
    for number in range(24):
        projection = "ap" if number % 2 else "pa"
        sick = number % 8 in (1, 3, 5) or number % 8 == 0
        cases.append(
            case(
                number,
                square(10, 10) if sick else np.zeros((SIZE, SIZE), dtype=bool),
                normal=not sick,
                projection=projection,
                confidences={"t": 0.9 if projection == "ap" else 0.1},
                maps={"t": square(10, 10).astype(np.float32)},
            )
        )
    lines = {(x.group, x.measure): x.number.value for x in compare(cases, ("t",)) if x.who == "t"}
    assert lines["all", "confidence AUC against normal"] == pytest.approx(0.75)
    assert lines["projection ap", "confidence AUC against normal"] == 0.5


def test_a_lesion_smaller_than_a_pixel_is_not_lost() -> None:
    mask = np.zeros((2000, 2000), dtype=bool)
    mask[999, 999] = True
    assert shrink(mask).any()
    assert not shrink(np.zeros((2000, 2000), dtype=bool)).any()
