"""Hallucinated twin: is the truth likelier than a plausible wrong answer of the same style and length?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.evaluate.probes.another_patient import Others
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Drop, Example, Measurement
from mmedpo.registry import register
from mmedpo.storage.tables import write_text

TWINS = "twins.json"
"""Question -> its twin's image and answer."""


class Twins(Measurement):
    """log pi, nats, summed over the answer: a question's truth and its twin's, on the images of both."""

    truth: float
    """The truth on the question's own image."""
    twin: float
    """The twin's answer on that image: a hallucination."""
    truth_there: float
    """The truth on the twin's image: a hallucination there."""
    twin_there: float
    """The twin's answer on its own image."""


@register("probe", "hallucinated-twin")
class HallucinatedTwin(Probe[Twins]):
    """Share of question pairs in which each image makes its own truth the likelier answer.

    The twin is the same question to another patient, with another truth: what is true of one is the hallucination of
    the other. Whatever a model believes without the image, it is right on one of the two at most.
    """

    title = "Hallucinated twin"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {"own": "own image", "there": "twin's image", "both": "right on both"}
    headline = "both"
    about = "share of questions whose truth beats a twin's on its own image, and loses to it on the twin's"
    record = Twins
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions that are asked of another patient with another truth."""
        others = Others(examples)
        alone: list[Drop] = []

        def usable(example: Example) -> bool:
            if others.of(example)[0] is not None:
                return True
            alone.append(Drop(stage=place.stage, item=example.example_id, reason="no-patient-with-another-truth"))
            return False

        asked = self.sample(examples, usable)
        found = {example.example_id: others.of(example)[0] for example in asked}
        twins = {name: [twin.image.path, twin.answer] for name, twin in found.items() if twin is not None}
        write_text(place.folder / TWINS, json.dumps(twins))
        return Prepared(asked, alone)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Twins]:
        """Four log-probabilities of every question."""
        twins = json.loads((subject.folder / TWINS).read_text())
        shown = []
        for example in examples:
            path, answer = twins[example.example_id]
            answered = (example, example.model_copy(update={"answer": answer}))
            views = [image_file(subject.image_root, image) for image in (example.image.path, path)]
            shown.append([(view, way) for view in views for way in answered])
        return [
            Twins(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                truth=truth,
                twin=twin,
                truth_there=truth_there,
                twin_there=twin_there,
            )
            for example, (truth, twin, truth_there, twin_there) in zip(examples, subject.of_each(shown), strict=True)
        ]

    def values(self, rows: Sequence[Twins]) -> Mapping[str, Mapping[str, float]]:
        """1 where the image's own truth is the likelier one; a tie is wrong."""
        own = {row.example_id: float(row.truth > row.twin) for row in rows}
        there = {row.example_id: float(row.twin_there > row.truth_there) for row in rows}
        return {"own": own, "there": there, "both": {name: own[name] * there[name] for name in own}}
