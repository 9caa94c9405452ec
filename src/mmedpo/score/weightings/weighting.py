"""What a weighting is, and the standardisation that weightings share."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

Scores = np.ndarray[tuple[int], np.dtype[np.float64]]
"""float64 [pairs]: raw scores in [0, 1], or the weights made of them."""


class Scale(Protocol):
    """The numbers of `score.*` that a weighting may read."""

    @property
    def mu(self) -> float:
        """Mean the weights are scaled to."""

    @property
    def sigma(self) -> float:
        """Standard deviation they are scaled to, before any clip."""

    @property
    def lower(self) -> float:
        """alpha of the paper."""

    @property
    def upper(self) -> float:
        """beta of the paper."""


class Weighting(Protocol):
    """A registered weighting: `@register("weighting", NAME)` on a class without constructor arguments."""

    options: ClassVar[frozenset[str]]
    """Fields of `Scale` that have an effect; with `lower` and `upper` the weights are clipped to these."""

    def derive(self, scores: Scores, scale: Scale) -> Scores:
        """Weights of one source of scores, in the same order; at least one score, all in [0, 1]."""
        ...

    def describe(self, scale: Scale) -> str:
        """In words, for the report."""
        ...


def deviations(scores: Scores) -> Scores | None:
    """(s - mean) / std, with the *population* standard deviation; None where all scores are equal.

    ddof 0: the scores are the whole source, not a sample of it.
    """
    if scores.min() == scores.max():
        return None
    z: Scores = (scores - scores.mean()) / scores.std()
    return z
