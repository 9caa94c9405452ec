"""Conflicts have fixed clinical weights, so every value here is derived by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.clinical import conflict, extract_facts
from mmedpo.records import ErrorType


def between(truth: str, other: str, question: str = "", asked: ErrorType = "other") -> tuple[float, str]:
    found = conflict(extract_facts(truth, question, asked), extract_facts(other, question, asked))
    return found.score, found.error_type


@pytest.mark.parametrize(
    ("truth", "other", "expected"),
    [
        ("a nodule in the left lung", "no nodule in the left lung", (1.0, "presence")),
        ("a nodule in the left lung", "a pneumothorax in the left lung", (0.9, "abnormality")),
        ("a nodule in the left lung", "a nodule in the right lung", (0.8, "side")),
        ("bilateral opacity", "left opacity", (0.8 * 0.6, "side")),
        ("opacity in the upper zone", "opacity in the lower zone", (0.7, "zone")),
        ("liver", "spleen", (0.7, "organ")),
        ("two nodules", "three nodules", (0.6, "count")),
        ("small effusion", "large effusion", (0.5, "size")),
        ("5 cm", "10 cm", (0.5, "size")),
        ("hypodense", "hyperdense", (0.5, "attribute")),
        ("normal chest", "a large mass", (1.0, "abnormality")),
        ("a large mass", "normal chest", (1.0, "abnormality")),
        ("the lungs are clear", "the lungs are hazy", (1.0, "presence")),
        ("right frontal lobe", "not in the frontal lobe", (0.7, "zone")),
        ("haustra", "a septum", (0.3, "other")),
    ],
)
def test_weights(truth: str, other: str, expected: tuple[float, str]) -> None:
    score, kind = between(truth, other)
    assert (pytest.approx(score), kind) == expected


@pytest.mark.parametrize(
    ("truth", "other"),
    [
        ("a small nodule in the left upper zone", "a nodule"),  # saying less
        ("pleural effusion", "the effusion is in the pleura"),
        ("pneumonia", "consolidation"),  # one does not exclude the other
        ("axial", "transverse plane"),
        ("lung", "chest"),  # the region it lies in
        ("multiple nodules", "three nodules"),
        ("No effusion on the left. Effusion on the right.", "Effusion on the right."),
        ("effusion on the right", "Effusion on the left. Effusion on the right."),
    ],
)
def test_no_conflict(truth: str, other: str) -> None:
    assert between(truth, other)[0] == 0.0


def test_order_of_clinical_weight() -> None:
    others = [
        "no nodule in the left upper zone",
        "one small mass in the left upper zone",
        "nodule in the right upper zone",
        "nodule in the left lower zone",
        "two nodules in the left upper zone",
        "large nodule in the left upper zone",
    ]
    scores = [between("one small nodule in the left upper zone", other)[0] for other in others]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)


def test_modality_and_plane_weigh_most_where_they_are_asked() -> None:
    assert between("CT", "MRI", asked="modality") == (0.9, "modality")
    assert between("CT", "MRI") == (0.4, "modality")
    assert between("PA", "AP", asked="plane") == (0.9, "plane")
    assert between("AP", "axial", asked="plane") == (0.9, "plane")
    assert between("FLAIR", "MRI", asked="modality")[0] == 0.0
    assert between("FLAIR", "DWI", asked="modality") == (0.9, "modality")


def test_polarity_said_outweighs_polarity_inferred() -> None:
    question = "Is the trachea shifted to the left?"
    assert between("Yes", "No", question) == (1.0, "presence")
    assert between("Yes", "The trachea is not shifted to the left", question) == (0.8, "presence")


TEXTS = st.lists(
    st.sampled_from(
        [
            "no",
            "a",
            "left",
            "right",
            "small",
            "two",
            "nodule",
            "effusion",
            "not",
            "seen",
            ",",
            ".",
            "but",
            "and",
            "lungs",
            "clear",
            "CT",
            "axial",
            "yes",
            "5",
            "cm",
        ]
    ),
    max_size=10,
).map(" ".join)


@given(TEXTS, TEXTS)
def test_score_is_in_the_unit_interval_and_a_text_agrees_with_itself(a: str, b: str) -> None:
    assert 0.0 <= between(a, b)[0] <= 1.0
    facts = extract_facts(a)
    assert conflict(facts, facts).score == 0.0


def test_a_text_that_contradicts_itself_does_not_contradict_its_copy() -> None:
    facts = extract_facts("nodule lungs clear")
    assert conflict(facts, facts).score == 0.0


@pytest.mark.parametrize(
    ("truth", "other"),
    [
        ("The effusion has not recurred.", "No effusion."),
        ("PTX resolved.", "No pneumothorax."),
        ("Cardiomegaly is again noted.", "The heart is enlarged."),
        ("No large effusion.", "Small left pleural effusion."),
        ("Heart size is normal to mildly enlarged.", "Cardiomegaly."),
        ("No acute osseous abnormality. Right effusion.", "Right pleural effusion."),
        ("Clear lungs.", "No acute cardiopulmonary process."),
    ],
)
def test_the_same_in_other_words_is_no_contradiction(truth: str, other: str) -> None:
    assert conflict(extract_facts(truth), extract_facts(other)).score == 0.0


def test_what_one_part_lacks_is_not_said_of_the_whole() -> None:
    found = conflict(extract_facts("No acute osseous abnormality."), extract_facts("Right pleural effusion."))
    assert found.score < 0.5
    assert conflict(extract_facts("No acute process."), extract_facts("Right pleural effusion.")).score == 1.0


def test_a_denied_size_still_denies_that_size() -> None:
    assert conflict(extract_facts("No large effusion."), extract_facts("Large effusion.")).score == 1.0
    assert conflict(extract_facts("No effusion."), extract_facts("Small effusion.")).score == 1.0


def test_another_kind_of_the_same_finding_still_contradicts() -> None:
    assert conflict(extract_facts("hepatocellular carcinoma"), extract_facts("Pancreatic cancer.")).score == 0.3
