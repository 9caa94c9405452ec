"""Same label: does the answer follow what an image shows, and not whose image it is?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar

from mmedpo.evaluate.probes.another_patient import Others
from mmedpo.evaluate.probes.choosing import Way, choices_of
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import Drop, Example, Measurement
from mmedpo.registry import register
from mmedpo.storage.tables import write_text

PARTNERS = "labels.json"
"""Question -> image of a patient with the same truth, image of one with another, and that truth."""


class Labelled(Measurement):
    """By how much the answer that is true of an image is likelier than the other, nats."""

    alike: float
    """On the image of another patient with the same truth."""
    differing: float
    """On the image of a patient with another truth: that truth over the question's own."""


@register("probe", "same-label")
class SameLabel(Probe[Labelled]):
    """Share of questions whose answer stays with a patient of the same label and turns with one of another.

    A model that never looks prefers one answer on both images, and is right on one at most.
    """

    title = "Another patient, same label"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {"alike": "same label", "differing": "another label", "both": "both"}
    headline = "both"
    about = "share of questions answered right on another patient's image with the same truth and on one with another"
    record = Labelled
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions that are asked of patients with the same and with another truth."""
        others = Others(examples)
        chosen: dict[str, list[str]] = {}
        drops: list[Drop] = []

        def usable(example: Example) -> bool:
            differing, alike = others.of(example)
            if differing is None or alike is None:
                reason = "no-patients-with-another-and-the-same-truth"
                drops.append(Drop(stage=place.stage, item=example.example_id, reason=reason))
                return False
            chosen[example.example_id] = [alike.image.path, differing.image.path, differing.answer]
            return True

        asked = self.sample(examples, usable)
        write_text(place.folder / PARTNERS, json.dumps(chosen))
        return Prepared(asked, drops)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Labelled]:
        """Both answers on both images."""
        partners = json.loads((subject.folder / PARTNERS).read_text())
        ways = []
        for example in examples:
            alike, differing, answer = partners[example.example_id]
            ways.append(
                [
                    Way(image_file(subject.image_root, alike), example.question, (example.answer, answer)),
                    Way(image_file(subject.image_root, differing), example.question, (answer, example.answer)),
                ]
            )
        return [
            Labelled(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                alike=alike.margin,
                differing=differing.margin,
            )
            for example, (alike, differing) in zip(examples, choices_of(subject, examples, ways), strict=True)
        ]

    def values(self, rows: Sequence[Labelled]) -> Mapping[str, Mapping[str, float]]:
        """1 where the image's own truth is the likelier one; a tie is wrong."""
        alike = {row.example_id: float(row.alike > 0) for row in rows}
        differing = {row.example_id: float(row.differing > 0) for row in rows}
        return {"alike": alike, "differing": differing, "both": {name: alike[name] * differing[name] for name in alike}}
