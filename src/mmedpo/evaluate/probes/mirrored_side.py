"""Mirrored side: does the answer to a question of sides turn round when the image does?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from mmedpo.clinical.mirrored import sides_said, turned
from mmedpo.evaluate.probes.probe import Prepared, Probe, SampleSettings, Subject, Workplace
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import image_file, png_bytes
from mmedpo.records import Example, Measurement
from mmedpo.registry import register
from mmedpo.storage.tables import write_bytes


class Mirrored(Measurement):
    """log pi, nats, summed over the answer: of the true answer and of its mirror image."""

    kept: float
    """The true answer, image as it is."""
    kept_turned: float
    """Left and right exchanged in the answer, image as it is."""
    mirrored: float
    """The true answer, image mirrored: it is wrong now."""
    mirrored_turned: float
    """Left and right exchanged in the answer, image mirrored: it is right now."""


@register("probe", "mirrored-side")
class MirroredSide(Probe[Mirrored]):
    """Share of questions whose likelier side is right, with the image as it is and mirrored.

    A model that never looks prefers the same side both times, so `both` is 0. On photographs of patients a mirrored
    film also shows the heart on the other side: a model may tell that something is odd.
    """

    title = "Mirrored side"
    unit = "of questions"
    quantities: ClassVar[Mapping[str, str]] = {"kept": "as it is", "mirrored": "mirrored", "both": "right both times"}
    headline = "both"
    about = "share of side questions answered right with the image as it is and mirrored"
    record = Mirrored
    options = SampleSettings

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """Questions whose answer names one side and no more, with the mirror image of every image."""
        asked = self.sample(examples, one_sided)
        advance = place.track("mirroring images")
        for number, example in enumerate(asked, start=1):
            mirror = np.ascontiguousarray(read_image(place.image_root, example.image.path)[:, ::-1])
            write_bytes(place.folder / f"{example.image.sha256[:16]}.png", png_bytes(mirror))
            advance(number, len(asked))
        return Prepared(asked)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Mirrored]:
        """Four log-probabilities of every question."""
        shown = []
        for example in examples:
            answered = (example, example.model_copy(update={"answer": turned(example.answer)}))
            mirror = subject.folder / f"{example.image.sha256[:16]}.png"
            views = (image_file(subject.image_root, example.image.path), mirror)
            shown.append([(view, way) for view in views for way in answered])
        return [
            Mirrored(
                example_id=example.example_id,
                model=subject.model,
                image_sha256=example.image.sha256,
                kept=kept,
                kept_turned=kept_turned,
                mirrored=mirrored,
                mirrored_turned=mirrored_turned,
            )
            for example, (kept, kept_turned, mirrored, mirrored_turned) in zip(
                examples, subject.of_each(shown), strict=True
            )
        ]

    def values(self, rows: Sequence[Mirrored]) -> Mapping[str, Mapping[str, float]]:
        """1 where the right side is the likelier one; a tie is wrong."""
        kept = {row.example_id: float(row.kept > row.kept_turned) for row in rows}
        mirrored = {row.example_id: float(row.mirrored_turned > row.mirrored) for row in rows}
        return {"kept": kept, "mirrored": mirrored, "both": {name: kept[name] * mirrored[name] for name in kept}}


def one_sided(example: Example) -> bool:
    """Whether the answer says left or right, not both, and the question says neither."""
    one = len(sides_said(example.answer)) == 1 and not sides_said(example.question)
    return example.answer_type != "report" and one
