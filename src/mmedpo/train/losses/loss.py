"""What a loss sees of a batch of pairs, and what it must say of itself."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor


class PairValues(NamedTuple):
    """A batch of pairs as numbers. Every tensor is [pairs]; log-probabilities are sums over answer tokens, nats."""

    chosen: Tensor
    """a(y_w, x), token weights applied."""
    rejected: Tensor
    """a(y_l, x*), token weights applied."""
    chosen_logprob: Tensor
    """log pi(y_w | x)."""
    chosen_tokens: Tensor
    """Tokens of y_w, end-of-sequence included."""
    family: Tensor
    """Equal for the pairs that share their preferred branch (several negatives of one question)."""
    visual: Tensor
    """True for a visual pair, False for a text pair."""
    weight: Tensor
    """s' of Eq. 3."""


class LossOptions(NamedTuple):
    """Numbers of one term of the objective."""

    beta: float
    """Temperature of the implicit reward."""
    delta: float = 0.0
    """Margin inside the sigmoid."""
    label_smoothing: float = 0.0
    """Assumed share of flipped preferences."""


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
