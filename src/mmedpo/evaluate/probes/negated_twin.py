"""Negated twin: is a question answered right when it is asked, and when it is negated?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.clinical.restating import negated
from mmedpo.evaluate.probes.choosing import Way, asks_yes_or_no, choices_of, opposite
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Drop, Example, Measurement
from mmedpo.registry import register


class Negated(Measurement):
    """By how much the truth is likelier than its opposite, nats."""

    question: float
    """The question as it is."""
    negation: float
    """The question negated: its truth is the opposite."""
    question_alone: float
    """As it is, without any image."""
    negation_alone: float
    """Negated, without any image."""


@register("probe", "negated-twin")
class NegatedTwin(Probe[Negated]):
    """Share of yes/no questions right both as they are and negated, beyond those right without any image.

    A model that says yes to everything is never right on both. One that follows the logic and not the image may be,
    on every second question: what it gets right with no image to look at is taken off.
    """

    title = "Negated twin"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {
        "question": "as it is",
        "negation": "negated",
        "both": "right on both",
        "alone": "right on both without an image",
        "gain": "gained by the image",
    }
    headline = "gain"
    about = "share of yes/no questions right both as they are and negated, minus the same without an image"
    record = Negated
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Yes/no questions whose negation is read as denying what they ask for."""
        drops: list[Drop] = []

        def usable(example: Example) -> bool:
            if not asks_yes_or_no(example):
                return False
            if negated(example.question) is not None:
                return True
            drops.append(Drop(stage=place.stage, item=example.example_id, reason="negation-not-understood"))
            return False

        return Prepared(self.sample(examples, usable), drops)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Negated]:
        """Yes against no, four times."""
        ways = []
        for example in examples:
            turned, twin = opposite(example.answer), negated(example.question)
            assert turned is not None
            assert twin is not None
            asked = ((example.question, (example.answer, turned)), (twin, (turned, example.answer)))
            views = (image_file(subject.image_root, example.image.path), None)
            ways.append([Way(view, *words) for view in views for words in asked])
        return [
            Negated(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                question=question.margin,
                negation=negation.margin,
                question_alone=question_alone.margin,
                negation_alone=negation_alone.margin,
            )
            for example, (question, negation, question_alone, negation_alone) in zip(
                examples, choices_of(subject, examples, ways), strict=True
            )
        ]

    def values(self, rows: Sequence[Negated]) -> Mapping[str, Mapping[str, float]]:
        """1 where the truth is the likelier one; a tie is wrong."""
        question = {row.example_id: float(row.question > 0) for row in rows}
        negation = {row.example_id: float(row.negation > 0) for row in rows}
        both = {name: question[name] * negation[name] for name in question}
        alone = {row.example_id: float(row.question_alone > 0 and row.negation_alone > 0) for row in rows}
        gain = {name: both[name] - alone[name] for name in both}
        return {"question": question, "negation": negation, "both": both, "alone": alone, "gain": gain}
