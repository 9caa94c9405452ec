"""Terms that hold on to the preferred answer; pairs count alike, whatever their weight, unless `weighted` is set."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues, Use


class _Regulariser:
    options: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[Use]] = frozenset()
    regulariser: ClassVar[bool] = True
    whole_families: ClassVar[bool] = False


@register("loss", "nll")
class Nll(_Regulariser):
    """-log pi(y_w | x), negative log-likelihood of the preferred answer.

    `per: token` is its mean over the answer's tokens (IRPO, Pang et al. 2024); `per: answer` its sum, which on
    ground truths alone is supervised fine-tuning.
    """

    options: ClassVar[frozenset[str]] = frozenset({"per"})

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss, nats per token or per answer."""
        if options.per == "answer":
            return -pairs.chosen_logprob
        return -pairs.chosen_logprob / pairs.chosen_tokens.clamp(min=1)


@register("loss", "anchor")
class Anchor(_Regulariser):
    """-log sigmoid(beta a(y_w, x) - delta): keeps the preferred answer from becoming less likely than it was
    (mDPO, Wang et al. 2024, Eq. 6)."""

    options: ClassVar[frozenset[str]] = frozenset({"beta", "delta"})
    uses: ClassVar[frozenset[Use]] = frozenset({"reference"})

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return -logsigmoid(options.beta * pairs.chosen - options.delta)
