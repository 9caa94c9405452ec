"""`asymmetric`: the rejected reward counts less than the chosen one."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


@register("loss", "asymmetric")
class Asymmetric:
    """-log sigmoid(beta [a(y_w, x) - scale a(y_l, x*)]), a constant scale in [0, 1].

    The idea of ACPO (arXiv 2603.22165), which scales the rejected reward alone so that its gradient does not
    drag the preferred answer along. Its own scale follows the complexity of each pair; ours does not.
    """

    options: ClassVar[frozenset[str]] = frozenset({"beta", "scale"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return -logsigmoid(options.beta * (pairs.chosen - options.scale * pairs.rejected))
