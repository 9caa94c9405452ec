"""Injected answers are wrong, in the style and length of the truth, and the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.curation_examples import example
from mmedpo.clinical import conflict, extract_facts
from mmedpo.clinical.lexicon import words
from mmedpo.curate.perturb import Perturbation, allowed_change, perturb, vocabulary_of
from mmedpo.records import Drop, Example


def text_of(truth: Example, seed: int = 0) -> str:
    made = perturb(truth, seed)
    assert isinstance(made, Perturbation), made
    return made.text


@pytest.mark.parametrize(
    ("answer", "question", "expected"),
    [
        ("yes", "Is there an effusion?", {"no"}),
        ("Yes", "Is there an effusion?", {"No"}),
        ("NO.", "Is there an effusion?", {"YES."}),
        ("Yes, the trachea is in the midline.", "Is the trachea midline?", {"No, the trachea is not in the midline."}),
        ("No, there is no effusion.", "Is there an effusion?", {"Yes, there is an effusion."}),
        ("left", "Which side?", {"right"}),
        ("Right Lung", "Which lung?", {"Left Lung"}),
        ("both lungs", "Which lung?", {"left lung", "right lung"}),
        ("bilateral", "Which side?", {"left", "right"}),
        ("upper zone", "Which zone?", {"middle zone", "lower zone"}),
        ("small", "What size?", {"large"}),
        ("moderate", "What size?", {"small", "large"}),
        ("three", "How many nodules are there?", {"two"}),
        ("2", "How many nodules are there?", {"1", "3"}),
        ("PA", "What is the plane?", {"AP"}),
        ("Axial", "What is the plane?", {"Coronal", "Sagittal"}),
        ("CT", "Which modality?", {"x-ray", "MRI", "ultrasound"}),
        ("5 cm", "How large?", {"2 cm", "10 cm"}),
        ("with contrast", "With or without contrast?", {"without contrast"}),
    ],
)
def test_each_kind_of_error(answer: str, question: str, expected: set[str]) -> None:
    truth = example(answer, question)
    assert {text_of(truth, seed) for seed in range(24)} == expected


@pytest.mark.parametrize(
    ("answer", "may"), [("a stroke", False), ("Acute stroke.", False), ("two strokes", False), ("an infarct", True)]
)
def test_a_stroke_may_be_a_hemorrhage(answer: str, may: bool) -> None:
    truth = example(answer, "What does the MRI of the brain show?")
    assert any("hemorrhage" in text_of(truth, seed) for seed in range(24)) == may


def test_other_choices_are_used_verbatim() -> None:
    truth = example("AP", "Is this image AP, PA or axial?", answer_type="closed", choices=("AP", "PA", "axial"))
    assert {text_of(truth, seed) for seed in range(24)} == {"PA", "axial"}


def test_asked_kind_of_error_comes_first() -> None:
    truth = example("a small nodule in the left upper zone", error_type="side")
    assert text_of(truth) == "a small nodule in the right upper zone"


def test_articles_follow_the_noun() -> None:
    for seed in range(30):
        text = text_of(example("a nodule in the left lung", error_type="abnormality"), seed)
        assert text.startswith("an ") == (text.split()[1][0] in "aeiou")


def test_nothing_to_perturb_is_named() -> None:
    made = perturb(example("Haustra"), 0)
    assert isinstance(made, Drop)
    assert (made.stage, made.item, made.reason) == ("curate", "e1", "nothing-to-perturb")


REPORT = example(
    "There is a small nodule in the right upper zone. The heart is normal in size. "
    "No pleural effusion or pneumothorax.",
    "Write a report.",
    answer_type="report",
)


def test_a_report_changes_in_one_statement_only() -> None:
    before = REPORT.answer.split(". ")
    kinds = set()
    for seed in range(60):
        made = perturb(REPORT, seed)
        assert isinstance(made, Perturbation)
        after = made.text.split(". ")
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
        kinds.add(made.error_type)
    assert kinds == {"presence", "abnormality", "side", "zone", "size"}


def test_report_lists_are_split_without_growing() -> None:
    texts = {text_of(REPORT, seed) for seed in range(60)}
    assert any(
        t.endswith("Pleural effusion but no pneumothorax.") or t.endswith("pleural effusion but no pneumothorax.")
        for t in texts
    )


def test_same_seed_same_text_and_ids_draw_apart() -> None:
    assert perturb(REPORT, 3) == perturb(REPORT, 3)
    ids = [REPORT.model_copy(update={"example_id": f"e{i}"}) for i in range(20)]
    assert len({text_of(e, 3) for e in ids}) > 3


def test_vocabulary_keeps_unseen_words_out() -> None:
    truth = example("CT", "Which modality was used?")
    vocabulary = vocabulary_of([truth, example("MRI")])
    made = [perturb(truth, seed, vocabulary) for seed in range(12)]
    assert {m.text for m in made if isinstance(m, Perturbation)} == {"MRI"}


FINDINGS = ("opacity", "nodule", "mass", "pleural effusion", "pneumothorax", "atelectasis", "rib fracture", "pacemaker")
PHRASES = st.builds(
    lambda size, finding, side, zone: f"{size} {finding} in the {side} {zone} zone",
    st.sampled_from(("small", "moderate", "large")),
    st.sampled_from(FINDINGS),
    st.sampled_from(("left", "right")),
    st.sampled_from(("upper", "middle", "lower")),
)


@given(PHRASES, st.integers(0, 10_000), st.sampled_from(("abnormality", "side", "zone", "size")))
def test_always_wrong_and_of_the_same_length(answer: str, seed: int, asked: str) -> None:
    truth = example(answer, error_type=asked)
    made = perturb(truth, seed)
    assert isinstance(made, Perturbation)
    assert words(made.text) != words(answer)
    assert abs(len(made.text.split()) - len(answer.split())) <= allowed_change(len(answer.split()))
    assert made.error_type == asked
    assert made.conflict == conflict(extract_facts(answer, truth.question, truth.error_type),
                                     extract_facts(made.text, truth.question, truth.error_type)).score > 0  # fmt: skip


def test_finding_swaps_neither_lengthen_nor_shorten_on_average() -> None:
    change = Counter[int]()
    for finding in FINDINGS:
        for seed in range(80):
            truth = example(f"{finding} in the left lung", error_type="abnormality")
            change[len(text_of(truth, seed).split()) - len(truth.answer.split())] += 1
    assert set(change) == {-1, 0, 1}
    assert abs(change[1] - change[-1]) / sum(change.values()) < 0.06


def test_vqa_rad(shared_data: Path) -> None:
    """Every yes/no answer and most others can be perturbed; the published pairs are 11 words longer."""
    rows = json.loads((shared_data / "vqa_rad" / "VQA_RAD_Dataset_Public.json").read_text())
    made: dict[bool, list[bool]] = {True: [], False: []}
    change: list[int] = []
    for row in rows:
        answer = str(row["answer"]).strip()
        kind = "closed" if row["answer_type"].strip() == "CLOSED" else "open"
        result = perturb(example(answer, row["question"], example_id=str(row["qid"]), answer_type=kind), 0)
        made[answer.lower() in ("yes", "no")].append(isinstance(result, Perturbation))
        if isinstance(result, Perturbation):
            change.append(len(result.text.split()) - len(answer.split()))
    assert all(made[True])
    assert sum(made[False]) / len(made[False]) > 0.75
    assert abs(sum(change) / len(change)) < 0.05
    assert set(change) <= {-1, 0, 1}
