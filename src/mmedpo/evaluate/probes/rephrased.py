"""Rephrased question: does the answer stay, and stay right, when the same is asked in other words?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.clinical.restating import affirmed
from mmedpo.evaluate.probes.choosing import Way, choices_of, prepare_wrong, read_wrong
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Example, Measurement
from mmedpo.registry import register


class Rephrased(Measurement):
    """By how much the truth is likelier than any wrong answer, nats."""

    own: float
    """In the question's own words."""
    reworded: float
    """In other words."""
    own_alone: float
    """In its own words, without any image."""
    reworded_alone: float
    """In other words, without any image."""
    stays: bool
    """Whether the same answer is the likeliest in both, with the image."""


@register("probe", "rephrased")
class RephrasedQuestion(Probe[Rephrased]):
    """Share of questions right in both wordings, beyond those right without any image.

    An answer that stays shows that the words do not matter, not that the image does: habit is steady too. So what is
    right in both wordings with no image to look at is taken off.
    """

    title = "Rephrased question"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {
        "stays": "the answer stays",
        "both": "right in both wordings",
        "alone": "right in both without an image",
        "gain": "gained by the image",
    }
    headline = "gain"
    about = "share of questions right in two wordings, minus the same without an image"
    record = Rephrased
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions of which a wrong answer is known."""
        return prepare_wrong(self, place, examples)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Rephrased]:
        """The truth against what is wrong, four times."""
        wrong = read_wrong(subject)
        ways = []
        for example in examples:
            answers = (example.answer, *wrong[example.example_id])
            wordings = (example.question, in_other_words(example.question))
            views = (image_file(subject.image_root, example.image.path), None)
            ways.append([Way(view, words, answers) for view in views for words in wordings])
        return [
            Rephrased(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                own=own.margin,
                reworded=reworded.margin,
                own_alone=own_alone.margin,
                reworded_alone=reworded_alone.margin,
                stays=own.preferred == reworded.preferred,
            )
            for example, (own, reworded, own_alone, reworded_alone) in zip(
                examples, choices_of(subject, examples, ways), strict=True
            )
        ]

    def values(self, rows: Sequence[Rephrased]) -> Mapping[str, Mapping[str, float]]:
        """1 where the truth is the likeliest; a tie is wrong."""
        both = {row.example_id: float(row.own > 0 and row.reworded > 0) for row in rows}
        alone = {row.example_id: float(row.own_alone > 0 and row.reworded_alone > 0) for row in rows}
        stays = {row.example_id: float(row.stays) for row in rows}
        return {"stays": stays, "both": both, "alone": alone, "gain": {name: both[name] - alone[name] for name in both}}


def in_other_words(question: str) -> str:
    """A yes/no question that is understood as a statement to confirm; any other one behind a request."""
    return affirmed(question) or f"Please answer this question. {question}"
