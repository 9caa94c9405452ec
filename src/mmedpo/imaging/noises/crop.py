"""`crop`: mDPO's random window of the image, resized back to the full image."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from PIL import Image

from mmedpo.imaging.noises.noise import Region
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register

CROP_SHARE = (0.01, 0.20)
"""Share of the image's area an mDPO crop keeps, drawn uniformly."""


@register("noise", "crop")
class Crop:
    """A window of the image's own aspect ratio, so that resizing back does not distort anatomy."""

    options: ClassVar[frozenset[str]] = frozenset()

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`."""
        height, width = image.shape[:2]
        side = math.sqrt(rng.uniform(*CROP_SHARE))
        rows, columns = max(1, round(side * height)), max(1, round(side * width))
        top = int(rng.integers(0, height - rows + 1))
        left = int(rng.integers(0, width - columns + 1))
        window = np.ascontiguousarray(image[top : top + rows, left : left + columns])
        resized = Image.fromarray(window).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized, dtype=np.uint8)
