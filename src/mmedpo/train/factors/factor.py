"""What a factor is, and how its raw values become weights. Pure, no torch."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from mmedpo.records.shapes import Floats, Pixels

Bounds = tuple[float, float]
"""Least and largest factor, around 1."""

Probabilities = Floats
"""float64 [questions]: exp of the mean log-probability per token of the true answer, under the reference."""


class Factor(Protocol):
    """A registered factor: `@register("factor", NAME)` on a class without constructor arguments.

    The reference is asked how probable each true answer is, on the image as the factor shows it.
    """

    about: ClassVar[str]
    """What it measures, as one clause for the report."""

    def shown(self, image: Pixels, seed: int) -> Pixels:
        """What the reference is shown in place of the image; of the same shape."""
        ...

    def raw(self, probability: Probabilities) -> Floats:
        """How much each question counts, 0 or more; only ratios matter."""
        ...


def factor_weights(raw: Floats, bounds: Bounds) -> Floats:
    """Raw values divided by their mean, clipped, and divided by their mean again: mean 1.

    Where all are 0 nothing tells the questions apart, and every factor is 1.

    Args:
        raw: [questions] finite, 0 or more; at least one.
        bounds: of the clip.
    """
    mean = float(raw.mean())
    if mean == 0.0:
        return np.ones_like(raw)
    clipped = np.clip(raw / mean, *bounds)
    weights: Floats = clipped / clipped.mean()
    return weights
