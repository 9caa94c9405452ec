"""One preferred answer against several dispreferred ones at once."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


@register("loss", "softmax")
class Softmax:
    """log(1 + sum_j exp(beta (a(y_lj, x*_j) - a(y_w, x)))): softmax DPO (Chen et al. 2024, Eq. 8).

    The sum goes over the pairs of a family; each of them carries the family's loss. With one negative
    it is the sigmoid loss.
    """

    options: ClassVar[frozenset[str]] = frozenset({"beta"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = True

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        margin = options.beta * (pairs.rejected - pairs.chosen)
        same = pairs.family[:, None] == pairs.family[None, :]
        others = margin[None, :].masked_fill(~same, float("-inf"))
        return softplus(torch.logsumexp(others, dim=1))
