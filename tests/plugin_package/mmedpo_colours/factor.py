"""A factor of the weights: how unsure the model is of the answer when the picture is upside down."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.records.shapes import Floats, Pixels
from mmedpo.registry import register
from mmedpo.train.factors import Probabilities


@register("factor", "upside-down")
class UpsideDown:
    """1 - p."""

    about: ClassVar[str] = "how unsure the model is upside down"

    def shown(self, image: Pixels, seed: int) -> Pixels:
        """See `Factor`."""
        return np.ascontiguousarray(image[::-1])

    def raw(self, probability: Probabilities) -> Floats:
        """See `Factor`."""
        return 1.0 - probability
