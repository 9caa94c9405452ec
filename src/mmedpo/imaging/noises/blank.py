"""`blank`: the region fades to the image's mean colour, x (1 - h) + mean h."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.imaging.noises.noise import Region, blend
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register


@register("noise", "blank")
class Blank:
    """An ablation without chance."""

    options: ClassVar[frozenset[str]] = frozenset({"region"})

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`."""
        mean = image.mean(axis=(0, 1))
        return blend(image, np.broadcast_to(mean, image.shape), region)
