"""The true severity of a wrong answer, worked out by hand from what is on the image."""

from __future__ import annotations

import numpy as np
import pytest

from mmedpo.clinical.lexicon import words
from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, sample_structure
from mmedpo.data.phantom.questions import YES_NO, Question, ask_all
from mmedpo.data.phantom.severity import severities
from mmedpo.data.phantom.structure import Finding, Structure
from mmedpo.data.readers.phantom import Phantom, PhantomSettings
from mmedpo.errors import DataError

NODULE = Finding("nodule", "right", "upper", "small", 2)
EFFUSION = Finding("effusion", "bilateral", "none", "moderate")
CHEST = Structure("x-ray", "PA", (NODULE, EFFUSION))


def grade(question: Question, answer: str, structure: Structure = CHEST) -> float | None:
    return severities(structure, question).get(tuple(words(answer)))


def closed(kind, answer, about=None):
    return Question("?", answer, "closed", kind, YES_NO, about)


def open_(kind, answer, about=None):
    return Question("?", answer, "open", kind, (), about)


NAMES = open_("abnormality", "nodule and pleural effusion")


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        (closed("presence", "yes", "nodule"), "No.", 0.5),  # missed
        (closed("presence", "no", "pneumothorax"), "yes", 0.6 * 1.0),  # invented
        (closed("presence", "no", "nodule"), "yes", 0.8 * 0.5),  # asked of the left: it is on the right
        (closed("organ", "no"), "yes", 0.6 * 0.5),  # an enlarged heart
        (closed("abnormality", "yes"), "no", 0.6),  # normal, with an effusion
        (open_("side", "right", "nodule"), "the left lung", 0.8 * 0.5),
        (open_("side", "bilateral", "effusion"), "left", 0.5 * 0.8 * 0.6),
        (open_("zone", "upper zone", "nodule"), "the middle zone", 0.3 * 0.5 / 2),
        (open_("zone", "upper zone", "nodule"), "the lower zone", 0.3 * 0.5),
        (open_("zone", "upper zone", "nodule"), "in the left lower zone", 0.8 * 0.5),
        (open_("size", "moderate", "effusion"), "large", 0.4 * 0.6 / 2),
        (open_("count", "two", "nodule"), "three", 0.3 * 0.5 / 2),
        (NAMES, "no abnormality", 0.6),
        (NAMES, "nodule and pneumothorax", 0.6),  # the effusion is missed, and as grave a thing invented
        (NAMES, "a moderate left pleural effusion", 0.5),  # the nodule is missed; the side is half wrong
        (open_("modality", "x-ray"), "MRI", 0.1),
        (open_("plane", "PA"), "axial", 0.05),
        # No truth, or none that is known.
        (NAMES, "nodule and pleural effusion", None),
        (NAMES, "something odd", None),
        (open_("side", "right", "nodule"), "right", None),
        (open_("side", "right", "nodule"), "the right lung", None),
        (Question("Report.", "two nodules.", "report", "other"), "one nodule.", None),
    ],
)
def test_a_wrong_answer_is_as_grave_as_what_it_gets_wrong(question, answer, expected):
    assert grade(question, answer) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("seed", range(6))
def test_every_wrong_choice_has_a_grade_and_no_truth_has(seed):
    priors = (TRAINING_PRIORS, BALANCED_PRIORS)[seed % 2]
    structure = sample_structure(np.random.default_rng([seed, 1]), priors)
    for question in ask_all(np.random.default_rng([seed, 2]), structure, priors):
        graded = severities(structure, question)
        assert all(0 < value <= 1 for value in graded.values())
        assert tuple(words(question.answer)) not in graded
        assert {tuple(words(choice)) for choice in question.choices} - {tuple(words(question.answer))} <= graded.keys()


def test_a_run_finds_what_its_cases_were_drawn_from(tmp_path):
    made = Phantom(PhantomSettings(train_images=2, validation_images=2, test_images=2))
    for example in made.read(tmp_path, None).examples:
        known = made.severity(example)
        assert known or example.answer_type == "report"
        assert "severity" not in example.model_dump_json()
    with pytest.raises(DataError, match="was not drawn from seed 1"):
        Phantom(PhantomSettings(seed=1)).severity(example)
