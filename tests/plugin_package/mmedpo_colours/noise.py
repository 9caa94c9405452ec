"""A kind of noise: every other row of the region is black."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.imaging.noises import replace
from mmedpo.imaging.noises.noise import Region
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register


@register("noise", "stripes")
class Stripes:
    """Uses the region, but neither step nor schedule."""

    options: ClassVar[frozenset[str]] = frozenset({"region"})

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`."""
        where = region >= 0.5
        where[::2] = False
        return replace(image, np.zeros_like(image), where)
