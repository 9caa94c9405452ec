"""`released`: the published code, N(0, 10) grey values with 8-bit wrap-around."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.imaging.noises.noise import Region, replace, standard_normal
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register

RELEASED_STD = 10.0
"""Standard deviation of the released code's noise, grey values."""


@register("noise", "released")
class Released:
    """Replaces pixels where h > mean(h) - std(h); globally this is pure static."""

    options: ClassVar[frozenset[str]] = frozenset({"region"})

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`."""
        everywhere = spec.region == "global"
        mask = np.ones(region.shape, dtype=bool) if everywhere else region > region.mean() - region.std()
        static = np.trunc(standard_normal(image, rng) * RELEASED_STD).astype(np.int64) & 0xFF
        return replace(image, np.broadcast_to(static, image.shape).astype(np.uint8), mask)
