"""From raw scores to weights, one registered file each (METHOD section 2, normalisation; s' of Eq. 3)."""

from mmedpo.score.weightings.weighting import Scale, Scores, Weighting, deviations

__all__ = ["Scale", "Scores", "Weighting", "deviations"]
