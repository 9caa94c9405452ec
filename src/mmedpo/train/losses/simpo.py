"""`simpo`: length-normalised, without reference (Meng et al. 2024)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues, Use


@register("loss", "simpo")
class Simpo:
    """-log sigmoid(beta log pi(y_w | x) / |y_w| - beta log pi(y_l | x*) / |y_l| - delta): Eq. 6; delta is gamma."""

    options: ClassVar[frozenset[str]] = frozenset({"beta", "delta"})
    uses: ClassVar[frozenset[Use]] = frozenset({"rejected"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        # A side may have no token that counts (`tokens: edited`, where only the other side has more words).
        chosen = pairs.chosen_logprob / pairs.chosen_tokens.clamp(min=1)
        rejected = pairs.rejected_logprob / pairs.rejected_tokens.clamp(min=1)
        return -logsigmoid(options.beta * (chosen - rejected) - options.delta)
