"""Organs apart from findings, by their labels, and questions about an organ."""

from __future__ import annotations

import pytest

from mmedpo.clinical.labels import about_organ, apart, names_organ
from mmedpo.records import Box, Example, ImageRef


@pytest.mark.parametrize(
    "label",
    ["Left Lung", "Lung_Right", "LIVER", "Small Bowel", "Temporal Lobe", "Brain Stem", "Brainstem",
     "Spinal Cord", "Femoral Head Left", "Optic Chiasm", "Eye Left", "head of the pancreas", "normal lung", "kidneys"],
)  # fmt: skip
def test_anatomy_with_sides_and_positions_is_an_organ(label: str) -> None:
    assert names_organ(label)


@pytest.mark.parametrize(
    "label",
    ["Lung Cancer", "Liver lesion", "colon polyp", "enlarged heart", "Cardiomegaly", "Brain Edema", "Kidney stone",
     "Brain Non-enhancing Tumor", "Lung Opacity", "nodulus of the left lung", "Left", "", "drusen", "lymph node"],
)  # fmt: skip
def test_whatever_else_a_label_says_makes_it_a_finding(label: str) -> None:
    assert not names_organ(label)


def test_boxes_are_parted_in_their_order() -> None:
    boxes = [Box(x0=n, y0=0, x1=n + 1, y1=1, label=label) for n, label in enumerate(("Mass", "Heart", "", "Left Lung"))]
    findings, organs = apart(boxes)
    assert [box.label for box in findings] == ["Mass", ""]
    assert [box.label for box in organs] == ["Heart", "Left Lung"]


@pytest.mark.parametrize(
    ("question", "answer", "organs", "about"),
    [
        ("Is the lung healthy?", "No", ["Left Lung", "Right Lung"], True),
        ("Which organ is the largest?", "Liver", ["Liver"], True),
        ("Is the liver normal?", "Yes", ["Left Lung"], False),
        ("Is there an opacity?", "Yes", ["Lung"], True),
        ("Is there an opacity?", "Yes", ["Heart"], False),
        ("Is the abdomen normal?", "Yes", ["Spleen"], True),
        ("Is there a lesion in the frontal lobe?", "Yes", ["Brain"], True),
        ("Is the larynx narrowed?", "Yes", ["Larynx"], True),
        ("What modality is this?", "CT", ["Liver"], False),
    ],
)
def test_a_question_is_about_an_organ_it_names_or_whose_finding_it_asks_for(
    question: str, answer: str, organs: list[str], about: bool
) -> None:
    image = ImageRef(path="a.png", sha256="0" * 64, width=8, height=8)
    example = Example(
        example_id="e", dataset="x", split="train", image=image, question=question, answer=answer, answer_type="open"
    )
    assert about_organ(example, organs) is about
