"""`margin`: the preferred side ahead by so many nats, and then it is enough; needs no reference."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import relu

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues, Use


@register("loss", "margin")
class Margin:
    """max(0, m - [log pi(y_w | x) - log pi(y_l | x*)]), m in nats.

    Bounded: a pair that is ahead by m pulls no more, so that likelihood is not pushed away from the truth.
    """

    options: ClassVar[frozenset[str]] = frozenset({"margin"})
    uses: ClassVar[frozenset[Use]] = frozenset({"rejected"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss, nats."""
        return relu(options.margin - (pairs.chosen_logprob - pairs.rejected_logprob))
