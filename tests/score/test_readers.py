"""Readers err by themselves and about as much as they say, so that a panel of them shows what a debate is for."""

from __future__ import annotations

import numpy as np

from mmedpo.score.agents.readers import ERROR, Reader1, Reader2, Reader3, Reader4, Reader5
from mmedpo.score.agents.rubric import InternistRubric
from mmedpo.score.debate import Case, debate

CASES = [Case(f"e{number}/text", "Is there an effusion?", "yes", "no") for number in range(150)]
READERS = (Reader1(), Reader2(), Reader3(), Reader4(), Reader5())


def test_errors_are_independent_and_of_the_size_that_is_told() -> None:
    (view,) = {InternistRubric().first(case).score for case in CASES}
    assert view is not None
    errors = np.array([[(reader.first(case).score or 0.0) - view for case in CASES] for reader in READERS])
    # The scale ends at 1, which cuts some of them.
    assert 0.6 * ERROR < errors.std() < 1.2 * ERROR
    between = np.corrcoef(errors)[np.triu_indices(5, 1)]
    assert np.abs(between).max() < 0.3
    assert READERS[0].first(CASES[0]) == Reader1().first(CASES[0]), "a reader does not change its mind when asked again"


def test_more_readers_come_nearer_to_what_they_would_agree_on() -> None:
    def spread(number: int) -> float:
        return float(np.std([debate(READERS[:number], case).score for case in CASES]))

    assert spread(5) < 0.8 * spread(1)


def test_an_empty_answer_is_no_number() -> None:
    assert READERS[0].first(Case("e", "Is there an effusion?", "yes", "")).kind == "abstain"
