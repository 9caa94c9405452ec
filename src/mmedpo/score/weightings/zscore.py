"""`zscore`: clip((s - mean) / std, lower, upper), the plain reading; puts most on the lower bound."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.registry import register
from mmedpo.score.weightings.weighting import Scale, Scores, deviations


@register("weighting", "zscore")
class ZScore:
    """Where all scores are equal, every weight is mu."""

    options: ClassVar[frozenset[str]] = frozenset({"mu", "lower", "upper"})

    def derive(self, scores: Scores, scale: Scale) -> Scores:
        """See `Weighting`."""
        z = deviations(scores)
        return np.full_like(scores, scale.mu) if z is None else np.clip(z, scale.lower, scale.upper)

    def describe(self, scale: Scale) -> str:
        """See `Weighting`."""
        return "z-scores of the raw scores"
