"""Present, absent, resolved, uncertain, of the past or not told of: by kinds of cue, place and writing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.clinical_language import gold_lines, measure, read_sentence
from mmedpo.clinical import conflict, extract_facts
from mmedpo.clinical.findings import FINDINGS

GOLD = Path(__file__).parent / "gold"
NOUNS = [
    (name, spelling)
    for name, finding in FINDINGS.items()
    for spelling in finding.spellings[:1]
    if not spelling.endswith("*")
]


def said(text: str, question: str = "") -> dict[str, str]:
    facts = extract_facts(text, question)
    return {f.name: f.status for f in (*facts.findings, *facts.unsettled)}


@pytest.mark.parametrize(("name", "noun"), NOUNS)
@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("No {}.", "absent"),
        ("{}: no", "absent"),
        ("{} - none seen", "absent"),
        ("| {} | absent |", "absent"),
        ("The {} is not seen.", "absent"),
        ("{} unlikely.", "absent"),
        ("There is a {}.", "present"),
        ("No interval change in the {}.", "present"),
        ("The {} has not changed.", "present"),
        ("The {} has resolved.", "resolved"),
        ("Interval resolution of the {}.", "resolved"),
        ("Possible {}.", "uncertain"),
        ("{} cannot be excluded.", "uncertain"),
        ("History of {}.", "historical"),
        ("Evaluate for {}.", "unknown"),
        ("Indication: {}.", "unknown"),
    ],
)
def test_every_finding_takes_every_status(name: str, noun: str, pattern: str, status: str) -> None:
    assert said(pattern.format(noun))[name] == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # lines of lists and tables
        ("Pneumothorax: no\nEffusion: yes", {"pneumothorax": "absent", "pleural effusion": "present"}),
        ("Finding | Seen\nNodule | -\nEffusion | +", {"nodule": "absent", "pleural effusion": "present"}),
        ("None of the following:\n- effusion\n- nodule", {"pleural effusion": "absent", "nodule": "absent"}),
        ("No:\n- nodule\n- effusion", {"nodule": "absent", "pleural effusion": "absent"}),
        ("Effusion? Negative.", {"pleural effusion": "absent"}),
        ("Effusion; no.", {"pleural effusion": "absent"}),
        # a line that is only wrapped goes on, one that stands alone does not
        (
            "There is no evidence of focal consolidation,\npleural effusion or pneumothorax.",
            {"opacity": "absent", "pleural effusion": "absent", "pneumothorax": "absent"},
        ),
        ("No effusion\nSmall nodule", {"pleural effusion": "absent", "nodule": "present"}),
        # headings
        ("HISTORY: pneumonia.\nFINDINGS: No nodule.", {"pneumonia": "historical", "nodule": "absent"}),
        ("Indication: pneumonia. Findings: effusion.", {"pneumonia": "unknown", "pleural effusion": "present"}),
        # scope ends
        ("No mass, but a nodule.", {"mass": "absent", "nodule": "present"}),
        ("There is a nodule and an effusion is not seen.", {"nodule": "present", "pleural effusion": "absent"}),
        ("Nodule yes, effusion no.", {"nodule": "present", "pleural effusion": "absent"}),
        ("The nodule is not calcified and not new.", {"nodule": "present", "calcification": "absent"}),
        # nearly gone is there, gone is not
        ("The effusion has almost entirely resolved.", {"pleural effusion": "present"}),
        ("The effusion has not resolved.", {"pleural effusion": "present"}),
        ("Prior effusion is not seen.", {"pleural effusion": "resolved"}),
        ("Prior effusion has increased.", {"pleural effusion": "present"}),
    ],
)  # fmt: skip
def test_writing_and_scope(text: str, expected: dict[str, str]) -> None:
    assert {k: v for k, v in said(text).items() if k in expected} == expected


def test_growth_that_did_not_happen_is_no_absence() -> None:
    assert said("The heart is not enlarged.") == {"cardiomegaly": "absent"}
    assert said("The heart is no larger than before.") == {}
    assert said("The mass is no larger than before.") == {"mass": "present"}


@pytest.mark.parametrize(
    ("text", "sides"),
    [
        ("A mass on the right shifts the trachea to the left.", {"right"}),
        ("The heart is displaced to the right by a left mass.", {"left"}),
        ("Mass due to left injury", {"left"}),
        ("Mass, rotated to the left", set()),
        ("A mass to the left of the midline", {"left"}),
    ],
)
def test_the_side_of_a_movement_is_not_the_findings(text: str, sides: set[str]) -> None:
    (mass,) = (f for f in extract_facts(text).findings if f.name == "mass")
    assert mass.sides == sides


def test_directions_stand_against_directions() -> None:
    truth = extract_facts("The trachea is shifted to the right.")
    assert conflict(truth, extract_facts("The trachea is shifted to the left.")).error_type == "side"
    assert conflict(truth, extract_facts("The trachea deviates to the right.")).score == 0.0
    assert conflict(truth, extract_facts("left")).error_type == "side"


@pytest.mark.parametrize("truth", ["Possible pneumonia.", "History of pneumonia.", "Rule out pneumonia.", "Pneumonia?"])
@pytest.mark.parametrize("other", ["Pneumonia.", "No pneumonia.", "Left pneumonia", "There is pneumonia on the right."])
def test_what_cannot_be_read_makes_no_pair(truth: str, other: str) -> None:
    assert conflict(extract_facts(truth), extract_facts(other)).score == 0.0
    assert conflict(extract_facts(other), extract_facts(truth)).score == 0.0


def test_a_hedge_the_question_asks_for_is_an_answer() -> None:
    assert said("Pneumonia is the most likely diagnosis.", "What is the most likely diagnosis?") == {
        "pneumonia": "present"
    }
    assert said("Pneumonia is likely.", "What is seen?") == {"pneumonia": "uncertain"}


def test_saying_less_in_other_words_is_no_contradiction() -> None:
    truth = extract_facts("A mass in the right lung causes retraction of neighbouring structures.")
    assert conflict(truth, extract_facts("A mass in the right lung.")).score == 0.0


@given(st.text(max_size=60))
def test_nothing_breaks_the_reading(text: str) -> None:  # fmt: skip
    assert conflict(extract_facts(text), extract_facts(text)).score == 0.0


@given(
    st.lists(
        st.sampled_from(["no", "not", "effusion", "left", "seen", ":", ",", "\n", "?", "-", "and", "resolved", "no:"]),
        max_size=14,
    )
)
def test_any_order_of_cues_is_read(words: list[str]) -> None:  # fmt: skip
    for read in read_sentence(" ".join(words)):
        assert read.name == "pleural effusion"
        assert read.sides <= {"left"}


@pytest.mark.parametrize(
    ("file", "right", "harmful"),
    [
        ("development.txt", 0.98, 1), ("held_out.txt", 0.95, 8), ("held_out_2.txt", 0.95, 1),
        ("held_out_3.txt", 0.95, 2), ("held_out_4.txt", 0.9, 2), ("held_out_5.txt", 0.95, 3),
        ("held_out_6.txt", 0.95, 2),
    ],
)  # fmt: skip
def test_report_sentences_are_read_as_measured(file: str, right: float, harmful: int) -> None:
    lines = gold_lines(GOLD / file)
    tally = measure(lines)
    assert len(lines) >= 40
    assert sum(tally.right.values()) >= right * sum(tally.gold.values())
    assert sum(tally.right.values()) >= right * sum(tally.read.values())
    assert tally.side_right >= 0.93 * tally.side_gold
    assert tally.harmful <= harmful


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Pleural effusions, if any, are small.", {"pleural effusion": "uncertain"}),
        ("Doubt pneumonia.", {"pneumonia": "uncertain"}),
        ("Absence of a pneumothorax does not exclude a fracture.", {"pneumothorax": "absent", "fracture": "uncertain"}),
        ("The effusion has not reaccumulated.", {"pleural effusion": "absent"}),
        ("The effusion has recurred.", {"pleural effusion": "present"}),
        ("The nodule was not present previously.", {"nodule": "present"}),
        ("Pneumonia is a less likely consideration.", {"pneumonia": "absent"}),
        ("The pattern argues against edema.", {"edema": "absent"}),
        ("Skin fold mimicking pneumothorax.", {"pneumothorax": "absent"}),
        ("-ve for fracture, +ve for effusion", {"fracture": "absent", "pleural effusion": "present"}),
        ("Consolidation, which has since resolved.", {"opacity": "resolved"}),
        ("Effusion which is new.", {"pleural effusion": "present"}),
        ("Changes after lobectomy for cancer.", {"tumor": "historical"}),
    ],
)  # fmt: skip
def test_cues_of_doubt_recurrence_and_resemblance(text: str, expected: dict[str, str]) -> None:
    assert said(text) == expected


@pytest.mark.parametrize("text", ["no no? ?\n", "Effusion? ?", "Effusion ??\n?", "? ?", "effusion; ;"])
def test_marks_behind_a_question_answer_nothing(text: str) -> None:
    assert "absent" not in said(text).values()


def findings(text: str) -> set[tuple[str, str, str]]:
    return {(r.name, r.status, " ".join(sorted(r.sides))) for r in read_sentence(text)}


@pytest.mark.parametrize(("name", "noun"), NOUNS)
@pytest.mark.parametrize(
    ("pattern", "status"),
    [
        ("No new {}.", "unknown"),
        ("Without evidence of additional {}.", "unknown"),
        ("New {} is not seen.", "unknown"),
        ("{} should be excluded.", "unknown"),
        ("{} needs to be ruled out.", "unknown"),
        ("{}, follow-up to document resolution.", "present"),
        ("Repeat film to ensure clearing of the {}.", "present"),
        ("[ ] {} [x] scar", "absent"),
        ("☐ scar ☑ {}", "present"),
        ("scar [x] {} [ ]", "absent"),
        ("{}: [ ] yes [x] no", "absent"),
        ("{}: yes [x] no [ ]", "present"),
    ],
)
def test_every_finding_in_what_was_read_wrongly(name: str, noun: str, pattern: str, status: str) -> None:
    assert said(pattern.format(noun))[name] == status


@pytest.mark.parametrize(
    "line",
    [
        "Effusion - right: small, left: none.",
        "Effusion: left none, right small",
        "Effusion (right: small; left: no)",
        "Effusion:\n- left: absent\n- right: small",
        "Effusion\nright = small\nleft = none",
        "Effusion: right - yes, left - no",
    ],
)
def test_each_side_of_an_entry_has_its_own_value(line: str) -> None:
    assert findings(line) == {("pleural effusion", "present", "right"), ("pleural effusion", "absent", "left")}


@pytest.mark.parametrize("answer", ["right: small, left: none", "Left: none. Right: small.", "left no, right yes"])
def test_sides_with_values_that_name_no_finding(answer: str) -> None:
    facts = extract_facts(answer, "Where is the effusion?")
    assert (facts.sides, facts.denied) == ({"right"}, {"side:left"})
    assert conflict(facts, extract_facts("right")).score == 0.0
    assert conflict(facts, extract_facts("left")).error_type == "side"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the place behind "without" is that of what is there, if it has none of its own
        ("Cyst without septation or calcification in the left kidney.", {("cyst", "present", "left")}),
        ("Mass with no calcification on the right.", {("mass", "present", "right"), ("calcification", "absent", "")}),
        ("Right mass without left effusion.", {("mass", "present", "right"), ("pleural effusion", "absent", "left")}),
        ("Left mass without effusion on the right.", {("mass", "present", "left")}),
        # what stands behind a hedge
        ("Mass cannot be excluded on the left, is present on the right.", {("mass", "uncertain", "left")}),
        ("Cannot exclude a mass and an effusion is present.", {("pleural effusion", "present", "")}),
        ("A mass cannot be excluded, nor can an effusion.", {("pleural effusion", "uncertain", "")}),
        ("Opacity not only on the left but also on the right.", {("opacity", "present", "left right")}),
        # an old one is not denied, and one that was denied before is
        ("No effusion or new nodule.", {("pleural effusion", "absent", ""), ("nodule", "unknown", "")}),
        ("New nodule, no effusion.", {("pleural effusion", "absent", ""), ("nodule", "present", "")}),
        ("The mass was followed and has cleared.", {("mass", "resolved", "")}),
        ("Fracture is excluded.", {("fracture", "absent", "")}),
        # what is to be looked at is there, and a box in a sentence takes nothing away
        ("The nodule should be evaluated with CT.", {("nodule", "present", "")}),
        ("Small effusion, [x] nodule.", {("pleural effusion", "present", ""), ("nodule", "present", "")}),
        ("Fracture (x) and a mass.", {("fracture", "present", ""), ("mass", "present", "")}),
    ],
)
def test_places_hedges_and_what_is_new(text: str, expected: set[tuple[str, str, str]]) -> None:
    assert expected <= findings(text)


@given(st.lists(st.sampled_from(["[", "]", "x", "(", ")", "☑", "☐", "effusion", "nodule", "left", "right", ":", ",",
                                 "yes", "no", "none", "small", "\n", ";", "and"]), max_size=16))  # fmt: skip
def test_any_order_of_boxes_and_sides_is_read(words: list[str]) -> None:
    for read in read_sentence(" ".join(words)):
        assert read.name in ("pleural effusion", "nodule")
