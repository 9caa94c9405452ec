"""`necessity`: how little the reference could have known without the image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.imaging.noise import noise_image
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Floats, Pixels
from mmedpo.registry import register
from mmedpo.train.factors.factor import Probabilities

BLIND_STEP = 900
"""Noise step at which the whole image is noised: xi_bar_900 = 0.13 of the signal's variance is left."""


@register("factor", "necessity")
class Necessity:
    """sqrt(1 - p), p the probability of the true answer when the whole image is noised."""

    about: ClassVar[str] = "how little the model knows without the image"

    def shown(self, image: Pixels, seed: int) -> Pixels:
        """See `Factor`."""
        return noise_image(image, None, NoiseSpec(region="global", step=BLIND_STEP, seed=seed))

    def raw(self, probability: Probabilities) -> Floats:
        """See `Factor`."""
        root: Floats = np.sqrt(1.0 - probability)
        return root
