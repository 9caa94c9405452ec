"""`unpaired`: each side is judged alone, good or bad (KTO, Ethayarajh et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


@register("loss", "unpaired")
class Unpaired:
    """[1 - sigmoid(beta a(y_w, x))] + [1 - sigmoid(-beta a(y_l, x*))]: KTO with its reference point at 0.

    KTO's own point is a mean over the batch. Here it is left out: how a step is divided into forward passes must
    not change its loss.
    """

    options: ClassVar[frozenset[str]] = frozenset({"beta"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return torch.sigmoid(-options.beta * pairs.chosen) + torch.sigmoid(options.beta * pairs.rejected)
