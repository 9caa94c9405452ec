"""Losses of preference pairs, one registered class each; every pairwise method is a sum (METHOD section 4).

Notation of the papers: a(y, x) = log pi(y|x) - log pi_0(y|x); y_w preferred, y_l dispreferred, x* what
the dispreferred side is shown.
"""

from mmedpo.train.losses.loss import COMPARES, Loss, LossOptions, PairValues, Use, uses_of

__all__ = ["COMPARES", "Loss", "LossOptions", "PairValues", "Use", "uses_of"]
