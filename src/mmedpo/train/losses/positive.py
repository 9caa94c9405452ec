"""`positive`: DPO that pays for a preferred answer below the reference (DPO-Positive, Pal et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


@register("loss", "positive")
class Positive:
    """-log sigmoid(beta [a(y_w, x) - a(y_l, x*) - penalty max(0, -a(y_w, x))]): DPOP, Eq. 3."""

    options: ClassVar[frozenset[str]] = frozenset({"beta", "penalty"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        fallen = options.penalty * relu(-pairs.chosen)
        return -logsigmoid(options.beta * (pairs.chosen - pairs.rejected - fallen))
