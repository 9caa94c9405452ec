"""Yes/no questions as statements and negations, and questions that presuppose what is not there."""

from __future__ import annotations

import pytest

from mmedpo.clinical import extract_facts
from mmedpo.clinical.premises import denied, premise
from mmedpo.clinical.restating import affirmed, negated
from mmedpo.records import Example, ImageRef

UNDERSTOOD = [
    ("Is there a nodule?", "there is a nodule", "there is no nodule"),
    ("Are there any rib fractures", "there are rib fractures", "there are no rib fractures"),
    ("Is a mass present on the left?", "a mass is present on the left", "a mass is not present on the left"),
    ("Does the image show an effusion?", "the image does show an effusion", "the image does not show an effusion"),
    ("Is the heart enlarged?", "the heart is enlarged", "the heart is not enlarged"),
    ("Can you see an opacity?", "you can see an opacity", "you can not see an opacity"),
    ("Is this a normal chest?", "this is a normal chest", "this is not a normal chest"),
    ("Does the left side show a nodule?", "the left side does show a nodule", "the left side does not show a nodule"),
    ("Are any ribs fractured?", "some ribs are fractured", "no ribs are fractured"),
    (
        "Is the cardiac silhouette within normal size limits?",
        "the cardiac silhouette is within normal size limits",
        "the cardiac silhouette is not within normal size limits",
    ),
]


@pytest.mark.parametrize(("question", "statement", "denial"), UNDERSTOOD)
def test_a_question_is_restated_and_negated(question: str, statement: str, denial: str) -> None:
    assert negated(question) == f"Is it true that {denial}?"
    assert affirmed(question) == f"Is it true that {statement}?"
    yes, twin = extract_facts("yes", question), extract_facts("no", negated(question) or "")
    assert [(f.name, f.status, f.sides) for f in yes.findings] == [(f.name, f.status, f.sides) for f in twin.findings]


@pytest.mark.parametrize(
    "question",
    [
        "Where is the nodule?",
        "Is the nodule on the left or the right?",
        "Is this image an MRI?",
        "Is the patient old?",
        "Are the lesions in the cerebellum?",
        "",
        "Is?",
        "Is there?",
        "is there a mass or an effusion?",
    ],
)
def test_what_is_not_understood_is_refused(question: str) -> None:
    assert negated(question) is None


def asked(question: str, answer: str) -> Example:
    image = ImageRef(path="a.png", sha256="0" * 64, width=8, height=8)
    return Example(
        example_id="q", dataset="d", split="test", image=image, question=question, answer=answer, answer_type="closed"
    )


@pytest.mark.parametrize(
    ("question", "answer", "name"),
    [
        ("Is there a pneumothorax?", "no", "pneumothorax"),
        ("Is there a pneumothorax on the left?", "no", None),
        ("Is there a large pneumothorax?", "no", None),
        ("Is there a pneumothorax?", "yes", None),
        ("Is there any abnormality?", "no", None),
        ("Is the heart enlarged?", "no", "cardiomegaly"),
        ("Is there a pneumothorax?", "it cannot be excluded", None),
    ],
)
def test_only_a_whole_denial_makes_a_premise_false(question: str, answer: str, name: str | None) -> None:
    fact = denied(asked(question, answer))
    assert (fact.name if fact else None) == name


def test_a_premise_speaks_of_the_finding_in_the_words_of_the_question() -> None:
    sided = premise("pleural effusion", "Is there an effusion?")
    assert sided.question == "On which side is the effusion?"
    assert sided.denial == "There is no effusion."
    assert sided.acceptances == ("There is an effusion on the left.", "There is an effusion on the right.")
    graded = premise("cardiomegaly", "Is the heart enlarged?")
    assert graded.question == "How severe is the cardiomegaly?"
    assert graded.acceptances == ("There is mild cardiomegaly.", "There is severe cardiomegaly.")
    for told in (sided, graded):
        assert not any(f.present for f in extract_facts(told.denial, told.question).findings)
        for text in told.acceptances:
            assert all(f.present for f in extract_facts(text, told.question).findings)
