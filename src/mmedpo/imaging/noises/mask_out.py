"""`mask-out`: pixels with h >= 0.5 become black."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.imaging.noises.noise import Region, replace
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register


@register("noise", "mask-out")
class MaskOut:
    """An ablation without chance."""

    options: ClassVar[frozenset[str]] = frozenset({"region"})

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`."""
        return replace(image, np.zeros_like(image), region >= 0.5)
