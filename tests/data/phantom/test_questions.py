"""Questions: true to the structure, silent about what is absent, and as often `yes` as the priors say."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, Finding, Priors, Question, Structure, sample_structure
from mmedpo.data.phantom.questions import ask_all
from mmedpo.data.phantom.wording import NUMBERS, phrase, report

Asked = list[tuple[Structure, tuple[Question, ...]]]

WORDS = {
    "opacity": "opacity",
    "nodule": "nodule",
    "mass": "mass",
    "effusion": "effusion",
    "pneumothorax": "pneumothorax",
    "cardiomegaly": "cardiomegaly|enlarged",
    "atelectasis": "atelectasis",
    "rib fracture": "fracture",
    "pacemaker": "pacemaker",
}


def ask(priors: Priors) -> Asked:
    drawn: Asked = []
    for index in range(1200):
        structure = sample_structure(np.random.default_rng([3, index]), priors)
        drawn.append((structure, ask_all(np.random.default_rng([4, index]), structure, priors)))
    return drawn


@pytest.fixture(scope="module")
def training() -> Asked:
    return ask(TRAINING_PRIORS)


@pytest.fixture(scope="module")
def balanced() -> Asked:
    return ask(BALANCED_PRIORS)


@pytest.fixture(scope="module")
def asked(training: Asked, balanced: Asked) -> Asked:
    return training + balanced


def test_presence_answers_are_true(asked: Asked) -> None:
    for structure, questions in asked:
        findings = {finding.kind: finding for finding in structure.findings}
        for question in questions:
            if question.error_type != "presence":
                continue
            assert question.about is not None
            assert re.search(WORDS[question.about], question.question)
            finding = findings.get(question.about)
            side = re.search(r"\b(left|right)\b", question.question)
            true = finding is not None and (side is None or finding.side in (side.group(), "bilateral"))
            assert question.answer == ("yes" if true else "no"), question


def test_attributes_are_asked_only_of_findings_that_are_there_and_answered_truly(asked: Asked) -> None:
    for structure, questions in asked:
        findings = {finding.kind: finding for finding in structure.findings}
        for question in questions:
            if question.error_type not in ("side", "zone", "size", "count"):
                continue
            assert question.about is not None
            finding = findings[question.about]
            assert question.about in question.question
            said = set(re.findall(r"[a-z]+", question.answer))
            if question.error_type == "side":
                assert said & {"left", "right", "bilateral", "both"} == (
                    said & {"bilateral", "both"} if finding.side == "bilateral" else {finding.side}
                )
            elif question.error_type == "zone":
                assert said & {"upper", "middle", "lower"} == {finding.zone}
                assert not said & {"left", "right"} - {finding.side}
            elif question.error_type == "size":
                assert question.answer == finding.size
            else:
                assert question.answer == NUMBERS[finding.count - 1]


def test_modality_plane_heart_and_normality_are_answered_truly(asked: Asked) -> None:
    for structure, questions in asked:
        large = any(finding.kind == "cardiomegaly" for finding in structure.findings)
        for question in questions:
            if question.error_type == "modality":
                assert question.answer == structure.modality
            elif question.error_type == "plane":
                assert question.answer == structure.plane
            elif question.error_type == "organ":
                assert question.answer == ("yes" if large == ("normal" not in question.question) else "no")
            elif question.error_type == "abnormality" and question.answer_type == "closed":
                expects_normal = "abnormal" not in question.question
                assert question.answer == ("yes" if (not structure.findings) == expects_normal else "no")


def test_closed_questions_offer_their_answer_and_open_answers_are_short(asked: Asked) -> None:
    for _, questions in asked:
        assert 5 <= len(questions) <= 12
        assert [question.answer_type for question in questions].count("report") == 1
        assert questions[-1].answer_type == "report"
        assert len({question.question for question in questions}) == len(questions)
        for question in questions:
            assert (question.answer in question.choices) == (question.answer_type == "closed")
            assert question.answer == question.answer.strip() != ""
            lower = re.sub(r"\b(CT|MRI|AP|PA)\b", "", question.answer)
            assert lower == lower.lower()
            if question.answer_type == "open":
                assert len(question.answer.split()) <= 8


def test_the_share_of_yes_follows_the_priors(training: Asked, balanced: Asked) -> None:
    for drawn, expected in ((training, 0.70), (balanced, 0.50)):
        answers = Counter(q.answer for _, questions in drawn for q in questions if q.error_type == "presence")
        assert answers["yes"] / answers.total() == pytest.approx(expected, abs=0.04)


def test_balanced_presence_cannot_be_answered_from_the_finding_or_the_wording(balanced: Asked) -> None:
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    by_wording: dict[bool, Counter[str]] = defaultdict(Counter)
    for _, questions in balanced:
        for question in questions:
            if question.error_type == "presence" and question.about is not None:
                by_kind[question.about][question.answer] += 1
                by_wording[" left" in question.question or " right" in question.question][question.answer] += 1
    for counts in by_kind.values():
        assert counts["yes"] / counts.total() == pytest.approx(0.5, abs=0.15)
    for counts in by_wording.values():
        assert counts["yes"] / counts.total() == pytest.approx(0.5, abs=0.1)


def test_reports_name_every_finding_and_deny_only_absent_ones(asked: Asked) -> None:
    for structure, questions in asked:
        text = questions[-1].answer
        kinds = {finding.kind for finding in structure.findings}
        sentences = text.split(". ")
        assert 2 <= len(sentences) <= 4
        denied = " ".join(s for s in sentences if re.search(r"\bno\b", s))
        stated = " ".join(s for s in sentences if not re.search(r"\bno\b", s))
        for kind, word in WORDS.items():
            assert bool(re.search(word, stated)) == (kind in kinds), (kind, text)
            assert not (kind in kinds and re.search(rf"\b{word}\b", denied)), (kind, text)
        if kinds - {"cardiomegaly", "pacemaker", "rib fracture"}:
            assert "clear" not in text
            assert "no lung" not in text
        assert "cardiomegaly" not in kinds or not re.search(r"heart( size)? is normal", text)
        for finding in structure.findings:
            if finding.kind != "cardiomegaly":
                assert phrase(finding) in text


def test_phrases_are_what_a_reader_expects() -> None:
    assert phrase(Finding("nodule", "right", "upper", "small")) == "a small nodule in the right upper zone"
    assert phrase(Finding("nodule", "left", "lower", "large", 3)) == "three large nodules in the left lower zone"
    assert phrase(Finding("mass", "left", "none", "large")) == "a large mass in the left lung"
    assert phrase(Finding("effusion", "bilateral", "none", "small")) == "a small bilateral pleural effusion"
    assert phrase(Finding("rib fracture", "left", "middle", "none")) == "a rib fracture in the left middle zone"
    assert phrase(Finding("pacemaker", "left", "none", "none")) == "a pacemaker on the left"


def test_a_normal_report_says_that_the_lungs_and_the_heart_are_normal() -> None:
    text = report(np.random.default_rng(1), Structure("x-ray", "PA", ()))
    assert text.count(".") == 3
    assert "heart" in text
    assert "pleural effusion or pneumothorax" in text


def test_the_vocabulary_stays_small(asked: Asked) -> None:
    words = {
        word
        for _, questions in asked
        for question in questions
        for word in re.findall(r"[a-z-]+", f"{question.question} {question.answer}".lower())
    }
    assert len(words) <= 350
