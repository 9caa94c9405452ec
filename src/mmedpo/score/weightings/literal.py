"""`literal`: clip((s - mu) / sigma, lower, upper), as printed; every s <= 1 gives the lower bound."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from mmedpo.registry import register
from mmedpo.score.weightings.weighting import Scale, Scores


@register("weighting", "literal")
class Literal:
    """Needs no statistics of the source."""

    options: ClassVar[frozenset[str]] = frozenset({"mu", "sigma", "lower", "upper"})

    def derive(self, scores: Scores, scale: Scale) -> Scores:
        """See `Weighting`."""
        return np.clip((scores - scale.mu) / scale.sigma, scale.lower, scale.upper)

    def describe(self, scale: Scale) -> str:
        """See `Weighting`."""
        return f"(score − {scale.mu:g}) / {scale.sigma:.3g} as printed in the paper"
