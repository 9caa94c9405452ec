"""Another patient: is the true answer likelier with its own image than with one of which it is not true?"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.evaluate.normalise import strict_tokens
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Drop, Example, Measurement
from mmedpo.registry import register
from mmedpo.storage.tables import write_text


class Swapped(Measurement):
    """log pi of the true answer to one question, nats, summed over the answer."""

    own: float
    """With its own image."""
    differing: float
    """With an image of another patient, to whom another answer is true."""
    alike: float
    """With an image of another patient, to whom the same answer is true."""


PARTNERS = "partners.json"
"""Question -> the two other images, in the order of `Swapped`."""


@register("probe", "another-patient")
class AnotherPatient(Probe[Swapped]):
    """Fall of log pi(y_w) with another patient's image, where the truth differs and, for control, where it does not."""

    title = "Another patient's image"
    unit = "nats"
    quantities: ClassVar[Mapping[str, str]] = {
        "differing": "another truth",
        "alike": "the same truth",
        "contrast": "contrast",
    }
    headline = "contrast"
    about = "fall of log pi(y_w) with the image of a patient with another truth minus one with the same"
    record = Swapped
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions that are asked of patients with another and with the same truth."""
        others = Others(examples)
        lonely: list[Drop] = []

        def usable(example: Example) -> bool:
            if None not in others.of(example):
                return True
            reason = "no-patients-with-another-and-the-same-truth"
            lonely.append(Drop(stage=place.stage, item=example.example_id, reason=reason))
            return False

        asked = self.sample(examples, usable)
        chosen = {e.example_id: [other.image.path for other in others.of(e) if other is not None] for e in asked}
        write_text(place.folder / PARTNERS, json.dumps(chosen))
        return Prepared(asked, lonely)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Swapped]:
        """log pi(y_w) under the three images."""
        partners = json.loads((subject.folder / PARTNERS).read_text())
        shown = [
            [
                (image_file(subject.image_root, path), example)
                for path in (example.image.path, *partners[example.example_id])
            ]
            for example in examples
        ]
        return [
            Swapped(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                own=own,
                differing=differing,
                alike=alike,
            )
            for example, (own, differing, alike) in zip(examples, subject.of_each(shown), strict=True)
        ]

    def values(self, rows: Sequence[Swapped]) -> Mapping[str, Mapping[str, float]]:
        """Both falls, and how much further log pi falls where the truth differs."""
        return {
            "differing": {row.example_id: row.own - row.differing for row in rows},
            "alike": {row.example_id: row.own - row.alike for row in rows},
            "contrast": {row.example_id: row.alike - row.differing for row in rows},
        }


class Others:
    """The same words asked of other patients.

    Args:
        examples: every question there is; reports ask for everything at once and are left out.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._asked: dict[tuple[str, ...], list[tuple[Example, tuple[str, ...]]]] = defaultdict(list)
        for example in examples:
            if example.answer_type != "report":
                self._asked[strict_tokens(example.question)].append((example, strict_tokens(example.answer)))

    def of(self, example: Example) -> tuple[Example | None, Example | None]:
        """One of another patient with another truth, one of one with the same; None where there is none.

        Which of several depends on the two questions alone.
        """
        truth = strict_tokens(example.answer)
        others = [
            other
            for other in self._asked[strict_tokens(example.question)]
            if patient_of(other[0]) != patient_of(example)
        ]
        differing = [other for other, answer in others if answer != truth]
        alike = [other for other, answer in others if answer == truth]
        return _one(example, differing), _one(example, alike)


def patient_of(example: Example) -> str:
    """Whose image it is: where no patient is known, every image is one of its own."""
    return example.patient_id or example.image.sha256


def _one(example: Example, others: Sequence[Example]) -> Example | None:
    def draw(other: Example) -> bytes:
        return hashlib.sha256(f"{example.example_id}\0{other.example_id}".encode()).digest()

    return min(others, key=draw, default=None)
