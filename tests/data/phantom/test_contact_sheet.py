"""The contact sheet shows every case once, at its place."""

from __future__ import annotations

import numpy as np

from mmedpo.data.phantom import BALANCED_PRIORS, Finding, contact_sheet, generate_case
from mmedpo.data.phantom.contact_sheet import describe


def test_cases_lie_in_rows_and_the_outline_marks_only_lesions() -> None:
    cases = [generate_case(seed, BALANCED_PRIORS, 96) for seed in range(5)]
    plain = np.asarray(contact_sheet(cases, 3))
    marked = np.asarray(contact_sheet(cases, 3, outline=True))
    height = plain.shape[0] // 2
    for index, case in enumerate(cases):
        x, y = (index % 3) * 100, (index // 3) * height
        assert (plain[y : y + 96, x : x + 96, 0] == case.image).all()
        changed = (plain != marked).any(axis=2)[y : y + 96, x : x + 96]
        assert not (changed & ~case.mask).any()
        assert changed.any() == case.mask.any()


def test_no_case_makes_an_empty_sheet() -> None:
    assert contact_sheet([], 4).size == (1, 1)


def test_captions_leave_out_what_a_finding_does_not_have() -> None:
    assert describe(Finding("nodule", "left", "upper", "small", 2)) == "small nodule x2 left upper"
    assert describe(Finding("cardiomegaly", "none", "none", "none")) == "cardiomegaly"
