"""Losses of the margin h = a(y_w, x) - a(y_l, x*)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


class _Pairwise:
    options: ClassVar[frozenset[str]] = frozenset({"beta"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False


@register("loss", "sigmoid")
class Sigmoid(_Pairwise):
    """-log sigmoid(beta h - delta): DPO (Rafailov et al. 2023); the term of MMedPO's Eq. 3; CoPO on visual pairs.

    With label smoothing e: -(1 - e) log sigmoid(m) - e log sigmoid(-m), conservative DPO (Mitchell 2023).
    At pi = pi_0 and delta 0 it is ln 2.
    """

    options: ClassVar[frozenset[str]] = frozenset({"beta", "delta", "label_smoothing"})

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        margin = options.beta * (pairs.chosen - pairs.rejected) - options.delta
        smooth = options.label_smoothing
        return -(1 - smooth) * logsigmoid(margin) - smooth * logsigmoid(-margin)


@register("loss", "robust")
class Robust(_Pairwise):
    """[-(1 - e) log sigmoid(m) + e log sigmoid(-m)] / (1 - 2 e): unbiased under a share e of flipped
    preferences (Chowdhury et al. 2024, Eq. 12)."""

    options: ClassVar[frozenset[str]] = frozenset({"beta", "label_smoothing"})

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        margin = options.beta * (pairs.chosen - pairs.rejected)
        smooth = options.label_smoothing
        return (-(1 - smooth) * logsigmoid(margin) + smooth * logsigmoid(-margin)) / (1 - 2 * smooth)


@register("loss", "ipo")
class Ipo(_Pairwise):
    """(h - 1 / (2 beta))^2: IPO (Azar et al. 2023, Eq. 17), on log-probabilities summed over the answer."""

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return (pairs.chosen - pairs.rejected - 1 / (2 * options.beta)).square()


@register("loss", "hinge")
class Hinge(_Pairwise):
    """max(0, 1 - beta h): SLiC (Zhao et al. 2023) on DPO's implicit reward."""

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return relu(1 - options.beta * (pairs.chosen - pairs.rejected))
