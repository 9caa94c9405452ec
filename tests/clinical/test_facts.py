"""What is read out of an answer: presence, negation scope, place, size, number, polarity."""

from __future__ import annotations

import time

import pytest

from mmedpo.clinical import FindingFact, extract_facts
from mmedpo.clinical.lexicon import find_terms, is_yes_no_question, pluralize


def stated(text: str) -> dict[str, bool]:
    return {f.name: f.present for f in extract_facts(text).findings}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no effusion on the left but a nodule on the right", {"pleural effusion": False, "nodule": True}),
        ("No effusion, pneumothorax, or nodule.", {"pleural effusion": False, "pneumothorax": False, "nodule": False}),
        ("No effusion, there is a nodule.", {"pleural effusion": False, "nodule": True}),
        ("No effusion and a small nodule.", {"pleural effusion": False, "nodule": True}),
        ("A nodule is not seen.", {"nodule": False}),
        ("The pneumothorax has resolved; an infiltrate remains.", {"pneumothorax": False, "opacity": True}),
        ("Lungs without evidence of consolidation. Pacemaker in place.", {"opacity": False, "pacemaker": True}),
        ("Free of effusion.", {"pleural effusion": False}),
        ("There is free air.", {"free air": True}),
        ("The heart is not enlarged.", {"cardiomegaly": False}),
        ("The heart is enlarged.", {"cardiomegaly": True}),
        ("The heart size is normal.", {"cardiomegaly": False}),
        ("Lungs are clear.", {"lung abnormality": False}),
        ("A normal chest.", {"abnormality": False}),
        ("An effusion cannot be excluded.", {}),
        ("Fat stranding would indicate inflammation.", {}),
    ],
)
def test_presence_and_negation_scope(text: str, expected: dict[str, bool]) -> None:
    assert stated(text) == expected


def test_modifiers_stay_with_their_finding() -> None:
    facts = extract_facts("Small left pleural effusion and two large right lower zone masses.")
    assert facts.findings == (
        FindingFact("pleural effusion", "present", sides=frozenset({"left"}), sizes=frozenset({"small"})),
        FindingFact(
            "mass",
            "present",
            sides=frozenset({"right"}),
            zones=frozenset({"height=lower"}),
            sizes=frozenset({"large"}),
            counts=frozenset({"2"}),
        ),
    )


def test_bilateral_is_both_sides() -> None:
    both = frozenset({"left", "right"})
    assert extract_facts("bilateral opacity").findings[0].sides == both
    assert extract_facts("both lungs").sides == both


def test_a_denied_side_is_not_affirmed() -> None:
    facts = extract_facts("not on the left but on the right")
    assert facts.sides == {"right"}
    assert "side:left" in facts.denied


@pytest.mark.parametrize(
    ("text", "question", "polarity"),
    [
        ("Yes", "Is there an effusion?", True),
        ("no.", "Is there an effusion?", False),
        ("No, the image is normal.", "What is seen?", False),
        ("No pneumothorax.", "Describe the image.", None),
        ("There are multiple rib fractures.", "Are any of the ribs fractured?", True),
        ("The chest x-ray is normal.", "Is anything wrong in this image?", False),
        ("This is not a transverse section but a sagittal section.", "Is this a transverse section?", False),
        ("This is a coronal image.", "Is this an axial image?", False),
        ("left", "Is it on the left or right?", None),
    ],
)
def test_polarity(text: str, question: str, polarity: bool | None) -> None:
    assert extract_facts(text, question).polarity is polarity


def test_yes_or_no_settles_what_the_question_names() -> None:
    (fact,) = extract_facts("No", "Is there a pleural effusion on the left?").findings
    assert (fact.name, fact.present, fact.sides) == ("pleural effusion", False, frozenset({"left"}))


def test_values_of_vqa_rad_answers() -> None:
    assert extract_facts("R frontal lobe").sides == {"right"}
    assert extract_facts("R frontal lobe").zones == {"brain-part=frontal"}
    assert extract_facts("MR - T2 weighted").modalities == {"mri"}
    assert extract_facts("MR - T2 weighted").attributes == {"sequence=t2"}
    assert extract_facts("5.6cm focal, predominantly hypodense").measures_mm == {56.0}
    assert extract_facts("5.6cm focal, predominantly hypodense").counts == frozenset()
    assert extract_facts("4th and 5th", "Which ribs?").levels == {"4th", "5th"}
    assert extract_facts("Lateral ventricles").planes == frozenset()
    assert extract_facts("without contrast").attributes == {"contrast=without contrast"}


def test_longest_form_wins() -> None:
    assert [m.term.name for m in find_terms("enlarged heart with pleural effusion")] == [
        "cardiomegaly",
        "pleural effusion",
    ]


def test_questions_that_offer_alternatives_are_not_yes_no() -> None:
    assert is_yes_no_question("Is there an effusion?")
    assert not is_yes_no_question("Is this an MRI or a CT scan?")
    assert not is_yes_no_question("Where is the lesion?")


def test_plurals() -> None:
    assert [pluralize(w) for w in ("nodule", "mass", "opacity", "metastasis", "stomach")] == [
        "nodules",
        "masses",
        "opacities",
        "metastases",
        "stomachs",
    ]


@pytest.mark.parametrize("unit", ["no ", "no effusion, ", "No:\n- a\n", "a\n", "effusion? no. ", "left "])
def test_a_text_without_end_is_read_in_time(unit: str) -> None:
    """Every word of a sentence is weighed against every other: this took minutes."""
    started = time.process_time()
    extract_facts(unit * (20_000 // len(unit)))
    assert time.process_time() - started < 5
