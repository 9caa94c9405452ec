"""A weighting: the rank of a score among all."""

from __future__ import annotations

from typing import ClassVar

from mmedpo.registry import register
from mmedpo.score.weightings import Scale, Scores


@register("weighting", "ranks")
class Ranks:
    """The share of scores that are not larger; 1 for the largest."""

    options: ClassVar[frozenset[str]] = frozenset()

    def derive(self, scores: Scores, scale: Scale) -> Scores:
        """See `Weighting`."""
        shares: Scores = (scores[:, None] >= scores[None, :]).mean(axis=1)
        return shares

    def describe(self, scale: Scale) -> str:
        """See `Weighting`."""
        return "the rank of the score"
