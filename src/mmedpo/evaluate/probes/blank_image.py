"""Blank image: how much of the true answer's probability comes from the image at all?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import image_file, png_bytes
from mmedpo.records import Example, Measurement
from mmedpo.registry import register
from mmedpo.storage.tables import write_bytes


class Blank(Measurement):
    """log pi of the true answer to one question, nats, summed over the answer."""

    shown: float
    """With its image."""
    blank: float
    """With an image of the same size in the image's mean grey."""


@register("probe", "blank-image")
class BlankImage(Probe[Blank]):
    """Fall of log pi(y_w) when the image is blank; a model that never looks has 0."""

    title = "Blank image"
    unit = "nats"
    quantities: ClassVar[Mapping[str, str]] = {"fall": "fall with a blank image"}
    headline = "fall"
    about = "fall of log pi(y_w) when the image is blank"
    record = Blank
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """A sample of the questions, and a blank of every image."""
        asked = self.sample(examples)
        advance = place.track("blanking images")
        for number, example in enumerate(asked, start=1):
            clean = read_image(place.image_root, example.image.path)
            grey = np.full_like(clean, round(float(clean.mean())))
            write_bytes(place.folder / f"{example.image.sha256[:16]}.png", png_bytes(grey))
            advance(number, len(asked))
        return Prepared(asked)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Blank]:
        """log pi(y_w) under both views of every question."""
        shown = [
            [(image_file(subject.image_root, e.image.path), e), (subject.folder / f"{e.image.sha256[:16]}.png", e)]
            for e in examples
        ]
        return [
            Blank(example_id=e.example_id, model=subject.model, image_sha256=e.image.sha256, shown=own, blank=blank)
            for e, (own, blank) in zip(examples, subject.of_each(shown), strict=True)
        ]

    def values(self, rows: Sequence[Blank]) -> Mapping[str, Mapping[str, float]]:
        """The fall."""
        return {"fall": {row.example_id: row.shown - row.blank for row in rows}}
