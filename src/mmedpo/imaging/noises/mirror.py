"""`mirror`: left and right exchanged; nothing is noised, and what an answer says of a side is wrong."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.imaging.noises.noise import Region
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register


@register("noise", "mirror")
class Mirror:
    """For questions whose truth names a side (`curate.visual_questions: side`).

    On photographs of patients the heart is on the other side too: a model may tell that something is odd.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    questions: ClassVar[str] = "side"
    """The only ones it says anything about."""

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`."""
        return np.ascontiguousarray(image[:, ::-1])
