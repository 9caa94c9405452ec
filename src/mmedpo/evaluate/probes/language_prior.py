"""Language prior: how much of what a model gets right does the question alone tell it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.evaluate.probes.choosing import Way, choices_of, prepare_wrong, read_wrong
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Example, Measurement
from mmedpo.registry import register


class Alone(Measurement):
    """By how much the truth is likelier than any wrong answer, nats."""

    shown: float
    """With the image."""
    alone: float
    """The question without any image."""
    stays: bool
    """Whether the same answer is the likeliest with and without."""


@register("probe", "language-prior")
class LanguagePrior(Probe[Alone]):
    """Share of questions right with the image, beyond those right without any."""

    title = "Language prior"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {
        "shown": "right with the image",
        "alone": "right without any image",
        "stays": "same answer without the image",
        "gain": "gained by the image",
    }
    headline = "gain"
    about = "share of questions right with the image, minus those that the question alone gets right"
    record = Alone
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions of which a wrong answer is known."""
        return prepare_wrong(self, place, examples)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Alone]:
        """The truth against what is wrong, with the image and without."""
        wrong = read_wrong(subject)
        ways = []
        for example in examples:
            answers = (example.answer, *wrong[example.example_id])
            views = (image_file(subject.image_root, example.image.path), None)
            ways.append([Way(view, example.question, answers) for view in views])
        return [
            Alone(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                shown=shown.margin,
                alone=alone.margin,
                stays=shown.preferred == alone.preferred,
            )
            for example, (shown, alone) in zip(examples, choices_of(subject, examples, ways), strict=True)
        ]

    def values(self, rows: Sequence[Alone]) -> Mapping[str, Mapping[str, float]]:
        """1 where the truth is the likeliest; a tie is wrong."""
        shown = {row.example_id: float(row.shown > 0) for row in rows}
        alone = {row.example_id: float(row.alone > 0) for row in rows}
        stays = {row.example_id: float(row.stays) for row in rows}
        gain = {name: shown[name] - alone[name] for name in shown}
        return {"shown": shown, "alone": alone, "stays": stays, "gain": gain}
