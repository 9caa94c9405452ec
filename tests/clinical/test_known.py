"""What answered questions on an image say of another answer, held against the generator that drew the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.clinical.known import Answered, Known
from mmedpo.data.phantom import BALANCED_PRIORS, sample_structure
from mmedpo.data.phantom.questions import ask_all

CHEST = Known.of(
    [
        Answered("Which lung shows the nodule?", "the right lung", "side"),
        Answered("Is there a pneumothorax on the left?", "no", "presence"),
        Answered("Is this image an x-ray, a CT or an MRI?", "x-ray", "modality"),
        Answered("Write a report.", "a small nodule in the right upper zone is seen. no other abnormality is seen."),
    ]
)


@pytest.mark.parametrize(
    ("question", "answer", "state"),
    [
        ("Is the nodule left or right?", "right", "right"),
        ("Is the nodule left or right?", "left", "wrong"),
        ("In which zone is the nodule?", "the lower zone", "wrong"),
        ("Where is the nodule?", "in the right upper zone", "right"),
        ("Is there a nodule?", "no", "wrong"),
        ("Is this image normal?", "yes", "wrong"),
        ("What modality is this?", "CT", "wrong"),
        ("What modality is this?", "x-ray", "right"),
        # Nobody spoke of the right side, of cardiomegaly, of a shape.
        ("Is there a pneumothorax?", "yes", "undecided"),
        ("Is there a pneumothorax on the left?", "yes", "wrong"),
        ("Is there cardiomegaly?", "yes", "undecided"),
        ("What is the shape of the nodule?", "round", "undecided"),
        # More than is known is not right.
        ("Where is the nodule?", "two nodules in the right upper zone", "undecided"),
        ("What is seen?", "a mass", "undecided"),
        ("", "", "undecided"),
    ],
)
def test_an_answer_is_settled_by_what_else_is_known(question: str, answer: str, state: str) -> None:
    assert CHEST.settle(question, answer).state == state


def test_one_side_of_a_finding_on_both_is_not_right() -> None:
    known = Known.of([Answered("Write a report.", "a large bilateral pleural effusion is seen.")])
    assert known.settle("Left, right or bilateral: where is the effusion?", "left").state != "right"
    assert known.settle("Left, right or bilateral: where is the effusion?", "bilateral").state == "right"


def test_two_lesions_of_a_kind_make_each_other_undecided() -> None:
    known = Known.of([Answered("What is on the left?", "a left nodule"), Answered("And right?", "a right nodule")])
    assert known.settle("Where is the nodule?", "left").state == "undecided"
    assert known.settle("Is there a nodule?", "no").state == "wrong"


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_true_answer_is_called_wrong_and_no_wrong_choice_right(seed: int) -> None:
    structure = sample_structure(np.random.default_rng([seed, 1]), BALANCED_PRIORS)
    asked = ask_all(np.random.default_rng([seed, 2]), structure, BALANCED_PRIORS)
    for place, question in enumerate(asked[:-1]):
        known = Known.of(Answered(q.question, q.answer, q.error_type) for q in (*asked[:place], *asked[place + 1 :]))
        assert known.settle(question.question, question.answer, question.error_type).state != "wrong"
        for other in set(question.choices) - {question.answer}:
            assert known.settle(question.question, other, question.error_type).state != "right"
