"""`rescale`: clip(mu + sigma * (s - mean) / std, lower, upper), the default: mean mu, variance sigma^2."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.registry import register
from mmedpo.score.weightings.weighting import Scale, Scores, deviations


@register("weighting", "rescale")
class Rescale:
    """Where all scores are equal, every weight is mu."""

    options: ClassVar[frozenset[str]] = frozenset({"mu", "sigma", "lower", "upper"})

    def derive(self, scores: Scores, scale: Scale) -> Scores:
        """See `Weighting`."""
        z = deviations(scores)
        if z is None:
            return np.full_like(scores, scale.mu)
        return np.clip(scale.mu + scale.sigma * z, scale.lower, scale.upper)

    def describe(self, scale: Scale) -> str:
        """See `Weighting`."""
        return f"rescaled to mean {scale.mu:g} and variance {scale.sigma**2:.3g}"
