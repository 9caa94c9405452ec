"""A denial of one kind, or of a place, denies neither another kind nor the thing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.clinical import extract_facts
from mmedpo.clinical.conflict import conflict
from mmedpo.clinical.kinds import same_kind
from mmedpo.clinical.vocabulary import ATTRIBUTES

TWO_POLES = ("time", "displacement", "chambers", "passage", "rupture", "grade", "content")
_finding = st.sampled_from(["fracture", "infarct", "mass", "nodule", "aneurysm", "stone", "effusion", "hemorrhage"])


def score(truth: str, other: str, question: str = "") -> float:
    return conflict(extract_facts(truth, question), extract_facts(other, question)).score


@given(
    _finding, st.sampled_from(TWO_POLES), st.sampled_from(["No {0} {1}.", "Without a {0} {1}.", "{0} {1} is absent."])
)
def test_denying_one_kind_denies_it_and_no_other(finding: str, axis: str, spelled: str) -> None:
    one, other = (spellings[0] for spellings in ATTRIBUTES[axis].values())
    denied = spelled.format(one, finding).capitalize()
    assert score(denied, f"There is a {one} {finding}.") == 1.0
    assert score(denied, f"There is a {other} {finding}.") < 1.0
    assert score(f"There is a {other} {finding}.", denied) < 1.0
    assert score(f"There is a {other} {finding} and no {one} {finding}.", f"No {finding}.") == 1.0


@pytest.mark.parametrize(
    ("truth", "other", "expected"),
    [
        ("No acute fracture.", "Old healed fracture of the left rib.", 0.0),
        ("Old fracture of the left rib, no acute fracture.", "There is a fracture of the left rib.", 0.0),
        ("The fracture is not displaced.", "There is no displaced fracture.", 0.0),
        ("The fracture is not acute.", "No acute fracture.", 0.0),
        ("No acute abnormality.", "Old healed fracture.", 0.0),
        ("No acute abnormality.", "Acute hemorrhage.", 1.0),
        ("The catheter is in the right atrium.", "The catheter is not in the right atrium.", 0.8),
        ("The catheter is not in the right atrium.", "The catheter is in the right atrium.", 0.8),
        ("The catheter is not in the right atrium.", "The catheter is in the left atrium.", 0.0),
        ("The mass is on the right.", "The mass is not in the left lobe but in the right lobe.", 0.0),
        ("The infarct on the left is not hemorrhagic.", "Right infarct without hemorrhage.", 0.8),
        ("Not well viewed by x-rays.", "X-rays show it.", 0.0),
    ],
)
def test_what_is_denied_is_what_contradicts(truth: str, other: str, expected: float) -> None:
    assert score(truth, other) == expected


def test_a_statement_on_one_kind_answers_no_question_on_another() -> None:
    said = "There is no acute fracture."
    assert extract_facts(said, "Is there an old fracture?").polarity is None
    assert extract_facts(said, "Is there an acute fracture?").polarity is False
    assert extract_facts(said, "Is there a fracture?").polarity is False


def test_kinds_differ_on_a_shared_axis_only() -> None:
    assert same_kind({"time=acute"}, {"grade=benign"})
    assert same_kind({"time=acute"}, set())
    assert not same_kind({"time=acute"}, {"time=chronic", "grade=benign"})
    assert not same_kind({"displacement=displaced"}, {"displacement=-displaced"})
