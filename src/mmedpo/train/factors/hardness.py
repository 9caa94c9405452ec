"""`hardness`: how unsure the reference is of the truth, with the image."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.records.shapes import Floats, Pixels
from mmedpo.registry import register
from mmedpo.train.factors.factor import Probabilities


@register("factor", "hardness")
class Hardness:
    """sqrt(1 - p), p the probability of the true answer on the image as it is."""

    about: ClassVar[str] = "how unsure the model is of the truth"

    def shown(self, image: Pixels, seed: int) -> Pixels:
        """See `Factor`."""
        return image

    def raw(self, probability: Probabilities) -> Floats:
        """See `Factor`."""
        root: Floats = np.sqrt(1.0 - probability)
        return root
