"""Raw clinical relevance to training weight (METHOD section 2, normalisation; s' of Eq. 3).

Modes, with mean and *population* standard deviation (ddof 0: the scores are the whole source, not a
sample of it) of the scores of one source:

    rescale   clip(mu + sigma * (s - mean) / std, lower, upper)     the default: mean mu, variance sigma^2
    zscore    clip((s - mean) / std, lower, upper)                  the plain reading; puts most on the lower bound
    literal   clip((s - mu) / sigma, lower, upper)                  as printed; every s <= 1 gives the lower bound
    raw       s                                                     what the released training used
    none      1                                                     unweighted; needs no score

Where std is 0, `rescale` and `zscore` give mu to every pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from mmedpo.config import ScoreSettings, Unscored, WeightMode
from mmedpo.errors import ScoringError
from mmedpo.records import Drop, PreferencePair

DEFAULTS = ScoreSettings()
"""mu, sigma and bounds of the paper; the configuration is the one place they are written."""


@dataclass(frozen=True)
class WeightReport:
    """Weights of one source and what they are made of."""

    weights: tuple[float, ...]
    """In the order of the scores."""
    mean: float
    """Mean of the scores; NaN without scores."""
    std: float
    """Population standard deviation of the scores; NaN without scores."""
    at_lower: int
    """How many weights the clip put on (or left at) the lower bound."""
    at_upper: int
    """How many on the upper bound."""
    warnings: tuple[str, ...] = ()
    """One line each; empty when all is well."""


@dataclass(frozen=True)
class WeighedPairs:
    """Pairs with their weights, what was left out, and one report per source."""

    pairs: tuple[PreferencePair, ...]
    """Weighted pairs in the order given."""
    drops: tuple[Drop, ...]
    """Unscored pairs that were left out, reason `unscored`."""
    reports: dict[str, WeightReport]
    """By source: `text`, `visual`; scored pairs only."""


def clinical_weights(
    scores: Sequence[float],
    mode: WeightMode = DEFAULTS.weights,
    mu: float = DEFAULTS.mu,
    sigma: float = DEFAULTS.sigma,
    lower: float = DEFAULTS.lower,
    upper: float = DEFAULTS.upper,
) -> WeightReport:
    """Weights for the scores of one source.

    Args:
        scores: raw relevance in [0, 1], at least one.
        mode: see the module docstring.
        mu: mean the weights are scaled to.
        sigma: standard deviation they are scaled to, before the clip.
        lower: alpha of the paper.
        upper: beta of the paper.

    Raises:
        ScoringError: unknown mode, no score, a score outside [0, 1], sigma not positive, bounds not
            around mu.
    """
    _check(mode, mu, sigma, lower, upper)
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1 or s.size == 0:
        raise ScoringError("no scores to derive weights from; score the pairs first or use mode 'none'")
    bad = s[~((s >= 0.0) & (s <= 1.0))]
    if bad.size:
        raise ScoringError(
            f"{bad.size} scores lie outside [0, 1], the first is {bad[0]}; rescale or drop them on import"
        )
    constant = bool(s.min() == s.max())
    mean, std = float(s.mean()), 0.0 if constant else float(s.std())
    weights = _derive(s, mode, mean, std, mu, sigma, lower, upper)
    clipped = mode in ("rescale", "zscore", "literal")
    at_lower = int((weights <= lower).sum()) if clipped else 0
    at_upper = int((weights >= upper).sum()) if clipped else 0
    return WeightReport(
        weights=tuple(float(w) for w in weights),
        mean=mean,
        std=std,
        at_lower=at_lower,
        at_upper=at_upper,
        warnings=_warnings(mode, weights, constant, at_lower, at_upper),
    )


def weigh_pairs(
    pairs: Sequence[PreferencePair],
    mode: WeightMode = DEFAULTS.weights,
    mu: float = DEFAULTS.mu,
    sigma: float = DEFAULTS.sigma,
    lower: float = DEFAULTS.lower,
    upper: float = DEFAULTS.upper,
    unscored: Unscored = DEFAULTS.unscored,
) -> WeighedPairs:
    """Sets the weight of every pair; statistics are taken per source (text, visual) over its scored pairs.

    Args:
        unscored: `drop` leaves pairs without a score out, with a named reason; `mu` keeps them with
            weight mu. Mode `none` needs no score and keeps every pair.

    Raises:
        ScoringError: as `clinical_weights`; or unknown `unscored`.
    """
    _check(mode, mu, sigma, lower, upper)
    if unscored not in get_args(Unscored):
        raise ScoringError(f"unscored is {unscored!r}; allowed: {', '.join(get_args(Unscored))}")
    reports: dict[str, WeightReport] = {}
    weight: dict[int, float] = {}
    for source in dict.fromkeys(pair.kind for pair in pairs):
        at = [i for i, pair in enumerate(pairs) if pair.kind == source and pair.score is not None]
        scores = [s for i in at if (s := pairs[i].score) is not None]
        if scores:
            reports[source] = clinical_weights(scores, mode, mu, sigma, lower, upper)
            weight.update(zip(at, reports[source].weights, strict=True))
    kept: list[PreferencePair] = []
    drops: list[Drop] = []
    for i, pair in enumerate(pairs):
        if i in weight:
            kept.append(pair.model_copy(update={"weight": weight[i]}))
        elif mode == "none" or unscored == "mu":
            kept.append(pair.model_copy(update={"weight": 1.0 if mode == "none" else mu}))
        else:
            detail = pair.unscored_reason or "no reason recorded"
            drops.append(Drop(stage="score", item=pair.pair_id, reason="unscored", detail=detail))
    return WeighedPairs(tuple(kept), tuple(drops), reports)


def _check(mode: str, mu: float, sigma: float, lower: float, upper: float) -> None:
    if mode not in get_args(WeightMode):
        raise ScoringError(f"weight mode is {mode!r}; allowed: {', '.join(get_args(WeightMode))}")
    if not (math.isfinite(sigma) and sigma > 0.0):
        raise ScoringError(f"sigma is {sigma}; allowed: a positive number (the paper uses sqrt(0.1))")
    if not 0.0 <= lower <= mu <= upper < math.inf:
        raise ScoringError(f"weight bounds are [{lower}, {upper}] around mu {mu}; allowed: 0 <= lower <= mu <= upper")


def _derive(
    s: np.ndarray[tuple[int], np.dtype[np.float64]],
    mode: WeightMode,
    mean: float,
    std: float,
    mu: float,
    sigma: float,
    lower: float,
    upper: float,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if mode == "none":
        return np.ones_like(s)
    if mode == "raw":
        return s
    if mode == "literal":
        return np.clip((s - mu) / sigma, lower, upper)
    if std == 0.0:
        return np.full_like(s, mu)
    z = (s - mean) / std
    return np.clip(z if mode == "zscore" else mu + sigma * z, lower, upper)


def _warnings(
    mode: WeightMode,
    weights: np.ndarray[tuple[int], np.dtype[np.float64]],
    constant: bool,
    at_lower: int,
    at_upper: int,
) -> tuple[str, ...]:
    found: list[str] = []
    n = len(weights)
    if constant and mode in ("rescale", "zscore"):
        found.append(f"all {n} scores are equal (std 0): every weight is mu, the scores have no effect")
    if 2 * (at_lower + at_upper) > n:
        found.append(
            f"{at_lower + at_upper} of {n} weights sit on a bound ({at_lower} lower, {at_upper} upper): "
            "they hardly tell pairs apart"
        )
    zeros = int((weights == 0.0).sum())
    if zeros:
        found.append(f"{zeros} of {n} weights are exactly 0: those pairs give no gradient but count in the batch mean")
    return tuple(found)
