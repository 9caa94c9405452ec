"""The objective: weighted terms over pairs, added up. Pure: no model, no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmedpo.config import TermSettings
from mmedpo.errors import ConfigError
from mmedpo.records import PairKind
from mmedpo.registry import lookup
from mmedpo.train.losses import Loss, LossOptions, PairValues


class _Term(NamedTuple):
    """One term, ready to be computed."""

    loss: Loss
    share: float
    """lambda."""
    options: LossOptions
    kinds: frozenset[PairKind]


class Objective:
    """L = mean_i sum_k lambda_k w_i phi_k(i), w_i = s'_i for preference terms and 1 for regularisers.

    The default, one sigmoid term, is Eq. 3 of MMedPO: - mean_i s'_i log sigmoid(beta [a(y_w, x)_i - a(y_l, x*)_i]).
    The mean is over the pairs, *not* divided by the sum of the weights: a pair of weight 0 adds
    nothing but still counts.

    Args:
        terms: settings of the terms.
        beta: temperature of terms that give none.

    Raises:
        ConfigError: an unknown loss, or an option that the loss does not use.
    """

    def __init__(self, terms: Sequence[TermSettings], beta: float) -> None:
        self._terms = [_term(term, beta) for term in terms]

    def sum(self, pairs: PairValues) -> Tensor:
        """Sum of the pairs' losses, a scalar; divide by the number of pairs of the optimizer step."""
        total = pairs.chosen.new_zeros(())
        for loss, share, options, kinds in self._terms:
            seen = (pairs.visual & ("visual" in kinds)) | (~pairs.visual & ("text" in kinds))
            part = PairValues(*(value[seen] for value in pairs))
            weight = torch.ones_like(part.weight) if loss.regulariser else part.weight
            total = total + share * (weight * loss(part, options)).sum()
        return total

    def needs(self, kind: PairKind, weight: float) -> bool:
        """Whether a pair contributes anything: if not, it needs no forward pass."""
        return any(kind in term.kinds and (term.loss.regulariser or weight != 0) for term in self._terms)

    @property
    def whole_families(self) -> bool:
        """Whether pairs that share their preferred branch must be seen together."""
        return any(term.loss.whole_families for term in self._terms)


def _term(settings: TermSettings, beta: float) -> _Term:
    try:
        loss: Loss = lookup("loss", settings.loss)()
    except ConfigError as error:
        raise ConfigError(f"train.objective: {error}") from None
    for name in ("beta", "delta", "label_smoothing"):
        if getattr(settings, name) is not None and name not in loss.options:
            raise ConfigError(
                f"train.objective: {name} has no effect on loss {settings.loss!r}, "
                f"which uses {', '.join(sorted(loss.options)) or 'no options'}; remove it"
            )
    options = LossOptions(settings.beta or beta, settings.delta or 0.0, settings.label_smoothing or 0.0)
    return _Term(loss, settings.weight, options, frozenset(settings.kinds))
