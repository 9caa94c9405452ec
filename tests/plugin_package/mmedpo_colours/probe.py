"""A probe: how much less likely the true answer is when the picture is black."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from PIL import Image
from pydantic import Field

from mmedpo.config.groups import Settings
from mmedpo.evaluate.probes import Prepared, Probe, Subject, Workplace
from mmedpo.records import Example, Measurement
from mmedpo.registry import register


class InTheDark(Measurement):
    """log pi of the true answer to one question, nats."""

    seen: float
    """With the picture."""
    dark: float
    """With a black one."""


class DarkSettings(Settings):
    """`evaluate.probes.in-the-dark`."""

    questions: int = Field(2, ge=1)
    """Questions that are asked."""


@register("probe", "in-the-dark")
class DarkProbe(Probe[InTheDark]):
    """Fall of log pi of the truth without a picture."""

    title = "In the dark"
    unit = "nats"
    quantities: ClassVar[Mapping[str, str]] = {"fall": "fall without a picture"}
    headline = "fall"
    about = "fall of log pi of the truth when the picture is black"
    record = InTheDark
    options = DarkSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """See `Probe`."""
        place.folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(place.folder / "black.png")
        return Prepared(examples[: self.settings.questions])

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[InTheDark]:
        """See `Probe`."""
        black = subject.folder / "black.png"
        seen = subject.log_probabilities([(subject.image_root / example.image.path, example) for example in examples])
        dark = subject.log_probabilities([(black, example) for example in examples])
        return [
            InTheDark(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                seen=with_picture,
                dark=without,
            )
            for example, with_picture, without in zip(examples, seen, dark, strict=True)
        ]

    def values(self, rows: Sequence[InTheDark]) -> Mapping[str, Mapping[str, float]]:
        """See `Probe`."""
        return {"fall": {row.example_id: row.seen - row.dark for row in rows}}
