"""What a loss sees of a batch of pairs, and what it must say of itself."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

Use = Literal["reference", "rejected", "other-image", "distributions", "rewards"]
"""What a loss needs beside log pi of the preferred answer: log pi_0, the other side, another image of the step, the
whole next-token distributions of policy and reference, a reward for every token of an own answer."""


class PairValues(NamedTuple):
    """A batch of pairs as numbers. Every tensor is [pairs]; log-probabilities are sums over answer tokens, nats.

    Where a form compares more than two branches, each side is the sum of its own.
    """

    chosen: Tensor
    """a(y_w, x), token weights applied."""
    rejected: Tensor
    """a(y_l, x*), token weights applied."""
    chosen_logprob: Tensor
    """log pi(y_w | x), token weights applied."""
    chosen_tokens: Tensor
    """Tokens of y_w that count, end-of-sequence included."""
    family: Tensor
    """Equal for the pairs that share their preferred branch (several negatives of one question)."""
    visual: Tensor
    """True for a visual pair, False for any other."""
    weight: Tensor
    """s' of Eq. 3, times the factors."""
    rejected_logprob: Tensor
    """log pi(y_l | x*), token weights applied."""
    rejected_tokens: Tensor
    """Tokens of y_l that count."""
    other_logprob: Tensor
    """log pi(y_w | x'), x' another image of the step; not a number where there is none."""
    answer: Tensor
    """True for a ground truth alone."""
    complete: Tensor
    """True where both sides are there; elsewhere the other numbers of the rejected side are not."""
    contrasted: Tensor
    """True where there is an x'."""
    forward_kl: Tensor
    """sum over the tokens of y_w that count of KL(pi_0 || pi) of the next token; not a number where not asked for."""
    reverse_kl: Tensor
    """The same of KL(pi || pi_0)."""
    gain: Tensor
    """sum over the tokens of y_l of min(r rho, r clip(rho, 0.8, 1.2)), rho = pi / pi_0; 0 without rewards."""


class LossOptions(NamedTuple):
    """Numbers of one term of the objective."""

    beta: float
    """Temperature of the implicit reward."""
    delta: float = 0.0
    """Margin inside the sigmoid."""
    label_smoothing: float = 0.0
    """Assumed share of flipped preferences."""
    margin: float = 1.0
    """Nats by which a bounded loss wants the one ahead of the other."""
    per: Literal["answer", "token"] = "token"
    """What a likelihood is summed over."""
    scale: float = 0.5
    """Share of the rejected reward that counts."""
    mix: float = 0.5
    """Share of the forward divergence."""
    penalty: float = 50.0
    """Cost of a chosen answer that is less likely than under the reference."""


class Loss(Protocol):
    """One term of an objective."""

    options: ClassVar[frozenset[str]]
    """Fields of `LossOptions` that have an effect."""
    regulariser: ClassVar[bool]
    """True: not multiplied by the pair's weight, so that a pair of weight 0 still counts."""
    whole_families: ClassVar[bool]
    """True: needs every pair of a family at once."""

    def __call__(self, pairs: PairValues, options: LossOptions) -> Tensor:
        """[pairs] the loss of each pair, without weight."""


COMPARES: frozenset[Use] = frozenset({"reference", "rejected"})
"""What a loss uses that does not say it in `uses`: both sides, and the reference."""


def uses_of(loss: Loss) -> frozenset[Use]:
    """What a loss needs; a class may say less, or other, than `COMPARES` as `uses: ClassVar[frozenset[Use]]`."""
    found: frozenset[Use] = getattr(loss, "uses", COMPARES)
    return found
