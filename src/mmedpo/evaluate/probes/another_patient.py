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
        """Questions that are asked of patients with the same and with another truth."""
        partners = partners_of(examples)
        questions = [example for example in examples if example.answer_type != "report"]
        asked = self.sample([example for example in questions if example.example_id in partners])
        drops = [
            Drop(stage=place.stage, item=example.example_id, reason="no-patients-with-another-and-the-same-truth")
            for example in questions
            if example.example_id not in partners
        ]
        chosen = {example.example_id: partners[example.example_id] for example in asked}
        write_text(place.folder / PARTNERS, json.dumps(chosen))
        return Prepared(asked, drops)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Swapped]:
        """log pi(y_w) under the three images."""
        partners = json.loads((subject.folder / PARTNERS).read_text())
        shown = [
            (image_file(subject.image_root, path), example)
            for example in examples
            for path in (example.image.path, *partners[example.example_id])
        ]
        totals = subject.log_probabilities(shown)
        return [
            Swapped(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                own=totals[3 * number],
                differing=totals[3 * number + 1],
                alike=totals[3 * number + 2],
            )
            for number, example in enumerate(examples)
        ]

    def values(self, rows: Sequence[Swapped]) -> Mapping[str, Mapping[str, float]]:
        """Both falls, and how much further log pi falls where the truth differs."""
        return {
            "differing": {row.example_id: row.own - row.differing for row in rows},
            "alike": {row.example_id: row.own - row.alike for row in rows},
            "contrast": {row.example_id: row.alike - row.differing for row in rows},
        }


def partners_of(examples: Sequence[Example]) -> dict[str, tuple[str, str]]:
    """Question -> image of a patient with another truth, image of one with the same; where there are both.

    The same words are asked of both. Which of several patients is taken depends on the two questions alone.
    """
    asked: dict[tuple[str, ...], list[Example]] = defaultdict(list)
    for example in examples:
        if example.answer_type != "report":
            asked[tuple(strict_tokens(example.question))].append(example)
    found = {}
    for group in asked.values():
        for example in group:
            others = [other for other in group if _patient(other) != _patient(example)]
            same = [other for other in others if strict_tokens(other.answer) == strict_tokens(example.answer)]
            differing = [other for other in others if strict_tokens(other.answer) != strict_tokens(example.answer)]
            if same and differing:
                found[example.example_id] = (_one(example, differing), _one(example, same))
    return found


def _patient(example: Example) -> str:
    return example.patient_id or example.image.sha256


def _one(example: Example, others: Sequence[Example]) -> str:
    return min(
        others, key=lambda o: hashlib.sha256(f"{example.example_id}\0{o.example_id}".encode()).digest()
    ).image.path
