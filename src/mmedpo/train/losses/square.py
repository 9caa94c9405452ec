"""`square`: both sides alike."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


@register("loss", "square")
class Square:
    """[a(y_w, x) - a(y_l, x*)]^2; with the form `consistent` the margin consistency of SymMPO (Liu et al. 2025)."""

    options: ClassVar[frozenset[str]] = frozenset()
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return (pairs.chosen - pairs.rejected).square()
