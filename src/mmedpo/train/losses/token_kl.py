"""`token-kl`: keeps the next-token distributions along the preferred answer close to the reference's."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues, Use


@register("loss", "token-kl")
class TokenKl:
    """sum_t [mix KL(pi_0 || pi) + (1 - mix) KL(pi || pi_0)] over the tokens of y_w that count, whole vocabulary.

    FiRe-MPO (arXiv 2606.12590, Eq. 4) with mix 0.5 on the edited tokens; the regulariser of RRPO with mix 1.
    """

    options: ClassVar[frozenset[str]] = frozenset({"mix"})
    uses: ClassVar[frozenset[Use]] = frozenset({"distributions"})
    regulariser: ClassVar[bool] = True
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss, nats."""
        return options.mix * pairs.forward_kl + (1 - options.mix) * pairs.reverse_kl
