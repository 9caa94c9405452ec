"""A loss: squared hinge of the margin. It uses methods of tensors alone, so that announcing it loads no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from mmedpo.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from mmedpo.train.losses import LossOptions, PairValues


@register("loss", "squared-hinge")
class SquaredHinge:
    """max(0, 1 - beta h)^2."""

    options: ClassVar[frozenset[str]] = frozenset({"beta"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return (1 - options.beta * (pairs.chosen - pairs.rejected)).clamp(min=0).square()
