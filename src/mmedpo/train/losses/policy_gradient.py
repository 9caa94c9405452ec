"""`policy-gradient`: own answers, every token with a reward of its own (`mmedpo.train.rewards`)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from mmedpo.registry import register
from mmedpo.train.losses.loss import LossOptions, PairValues, Use


@register("loss", "policy-gradient")
class PolicyGradient:
    """- sum_t [min(r_t rho_t, r_t clip(rho_t, 0.8, 1.2)) - r_t], rho_t = pi / pi_0 (Schulman et al. 2017, Eq. 7).

    0 at the reference, in every round: r_t itself changes no gradient.
    With `form: own`; the answers were sampled from pi_0, the model of the round before.
    """

    options: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[Use]] = frozenset({"reference", "rewards"})
    regulariser: ClassVar[bool] = False
    whole_families: ClassVar[bool] = False

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] loss."""
        return -pairs.gain
