"""Targeted wrong answers: of the asked type, turned round where the question offers it, plausible on such an image."""

from __future__ import annotations

import pytest

from curate.curation_examples import example
from mmedpo.clinical.lexicon import find_terms
from mmedpo.curate.perturb import Perturbation
from mmedpo.curate.targeting import Setting, asked_of, offered, target, truths_of
from mmedpo.records import Example


def made(item: Example, others: tuple[Example, ...] = ()) -> set[tuple[str, str]]:
    """(wrong answer, its type) over many seeds."""
    found = [target(item, seed, None, truths_of(others)) for seed in range(30)]
    return {(one.text, one.error_type) for one in found if isinstance(one, Perturbation)}


@pytest.mark.parametrize(
    ("answer", "question", "told", "expected"),
    [
        ("yes", "Is there an effusion?", "presence", {("no", "presence")}),
        ("Solid", "Is the mass solid or cystic?", "attribute", {("Cystic", "attribute")}),
        ("axial", "Is this axial or coronal?", "other", {("coronal", "plane")}),
        ("With contrast", "Was it taken with or without contrast?", "modality", {("Without contrast", "modality")}),
        ("left lower lung", "On which side is the nodule?", "side", {("right lower lung", "side")}),
        ("GI", "What organ system is shown?", "organ", {("CNS", "organ"), ("MSK", "organ"), ("GU", "organ")}),
        # The dataset says size; the question asks where. No size can be changed.
        ("right kidney", "Where is the mass?", "size", {("left kidney", "side")}),
        ("5 cm", "How large is it?", "other", {("2 cm", "size"), ("10 cm", "size")}),
        ("Prior surgery", "Why are the breasts asymmetrical?", "other", set()),
    ],
)
def test_the_error_is_of_an_asked_type(answer, question, told, expected) -> None:
    assert made(example(answer, question, error_type=told)) >= expected
    assert bool(made(example(answer, question, error_type=told))) == bool(expected)


def test_the_dataset_speaks_first_and_the_words_after_it() -> None:
    assert asked_of(example("left", "Where is it?", error_type="zone")) == ("zone", "side")
    assert asked_of(example("left", "Why?", error_type="other")) == ("other",)


@pytest.mark.parametrize(
    ("tags", "never", "some"),
    [
        (("modality:xray", "organ:chest"), {"pericardial effusion", "infarct", "abscess"}, {"pneumothorax", "nodule"}),
        (("modality:mri", "organ:head"), {"pneumothorax", "nodule", "appendicitis"}, {"infarct", "hemorrhage"}),
    ],
)
def test_a_finding_is_one_that_such_an_image_shows(tags, never, some) -> None:
    found = {
        match.term.name
        for text, _ in made(example("a mass", "What abnormality is seen?", error_type="abnormality", tags=tags))
        for match in find_terms(text)
    }
    assert not found & never
    assert found & some


def test_a_modality_is_one_that_the_region_is_imaged_by() -> None:
    for region, expected in (("head", {"MRI"}), ("chest", {"x-ray"}), ("abdomen", {"MRI", "x-ray", "ultrasound"})):
        item = example("CT", "What modality is this?", error_type="modality", tags=(f"organ:{region}",))
        assert {text for text, _ in made(item)} == expected


def test_other_answers_stand_in_where_the_kind_of_image_is_the_same() -> None:
    tags = ("modality:ct", "organ:abdomen")
    item = example("head of the pancreas", "Where is the lesion?", error_type="zone", tags=tags)
    other = example("dome of the liver", "Where is the cyst?", error_type="zone", tags=tags, example_id="e2")
    elsewhere = other.model_copy(update={"tags": ("modality:mri", "organ:head"), "answer": "floor of the brain"})
    found = {text for text, _ in made(item.model_copy(update={"answer": "duct of Wirsung"}), (other, elsewhere))}
    assert "floor of the brain" not in found
    assert truths_of((other, elsewhere)) == {
        ("zone", Setting.of(other)): ("dome of the liver",),
        ("zone", Setting.of(elsewhere)): ("floor of the brain",),
    }


def test_what_a_question_offers() -> None:
    assert offered("Is it solid, or a cystic mass?", "Cystic") == ["Solid"]
    assert offered("Is it solid or cystic?", "neither") == []
    assert offered("Is this T1, T2 or FLAIR?", "flair") == ["T2"]


FUNDUS, SLIDE = ("modality:fundus",), ("modality:pathology",)
CHEST, BELLY, HEAD = (
    ("modality:x-ray", "organ:chest"),
    ("modality:ct", "organ:abdomen"),
    ("modality:mri", "organ:head"),
)


@pytest.mark.parametrize(
    ("answer", "question", "told", "tags"),
    [
        ("temporal retina", "Where are the hemorrhages?", "zone", FUNDUS),
        ("squamous cell carcinoma", "What is present?", "abnormality", SLIDE),
        ("Lateral ventricle", "Which ventricle is enlarged?", "organ", HEAD),
    ],
)
def test_what_has_no_plausible_error_is_dropped(answer, question, told, tags) -> None:
    """Words of radiology are no errors on a slide or an eye, and what is no ventricle answers no "which ventricle"."""
    assert not made(example(answer, question, error_type=told, tags=tags))


@pytest.mark.parametrize(
    ("answer", "question", "told", "tags", "never"),
    [
        ("Liver Cancer", "What disease is shown?", "abnormality", BELLY, ("appendicitis", "gallstone", "hernia")),
        ("consolidation", "What abnormality is in the lung?", "abnormality", CHEST, ("cardiomegaly", "pacemaker")),
        ("a cyst", "What does the kidney show?", "abnormality", BELLY, ("gallstone", "cirrhosis")),
        ("Right Lung", "Which part is abnormal?", "zone", CHEST, ("heart", "trachea", "mediastinum")),
        ("2", "How many kidneys are there?", "count", BELLY, ("3",)),
        ("Two", "How many lungs are seen?", "count", CHEST, ("three",)),
    ],
)
def test_the_error_is_one_of_that_organ(answer, question, told, tags, never) -> None:
    found = [text.lower() for text, _ in made(example(answer, question, error_type=told, tags=tags))]
    assert found
    assert not [text for text in found for word in never if word in text]


def test_two_findings_of_an_organ_may_become_three() -> None:
    assert ("three", "count") in made(
        example("two", "How many nodules are in the lung?", error_type="count", tags=CHEST)
    )


def test_a_plane_has_two_names() -> None:
    item = example("Transverse Plane", "What is the scanning plane of this image?", error_type="plane", tags=BELLY)
    assert {text for text, _ in made(item)} == {"Coronal Plane", "Sagittal Plane"}
