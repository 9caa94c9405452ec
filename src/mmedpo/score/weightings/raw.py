"""`raw`: s itself, what the released training used."""

from __future__ import annotations

from typing import ClassVar

from mmedpo.registry import register
from mmedpo.score.weightings.weighting import Scale, Scores


@register("weighting", "raw")
class Raw:
    """A score of 0 gives a pair no gradient."""

    options: ClassVar[frozenset[str]] = frozenset()

    def derive(self, scores: Scores, scale: Scale) -> Scores:
        """See `Weighting`."""
        return scores

    def describe(self, scale: Scale) -> str:
        """See `Weighting`."""
        return "the raw score itself"
