"""Terms that hold on to the preferred answer; pairs count alike, whatever their weight."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues


class _Regulariser:
    options: ClassVar[frozenset[str]] = frozenset()
    regulariser: ClassVar[bool] = True
    whole_families: ClassVar[bool] = False


@register("loss", "nll")
class Nll(_Regulariser):
    """-log pi(y_w | x) / |y_w|: negative log-likelihood per token of the preferred answer (IRPO, Pang et al. 2024)."""

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss, nats per token."""
        return -pairs.chosen_logprob / pairs.chosen_tokens


@register("loss", "anchor")
class Anchor(_Regulariser):
    """-log sigmoid(beta a(y_w, x) - delta): keeps the preferred answer from becoming less likely than it was
    (mDPO, Wang et al. 2024, Eq. 6)."""

    options: ClassVar[frozenset[str]] = frozenset({"beta", "delta"})

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return -logsigmoid(options.beta * pairs.chosen - options.delta)
