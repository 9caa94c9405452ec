"""Raw clinical relevance to training weight (METHOD section 2, normalisation; s' of Eq. 3).

How, is a registered weighting (`mmedpo.score.weightings`): `rescale`, `zscore`, `literal`, `raw`. `none`
gives every pair 1 and needs no score. Statistics are those of one source of scores: text pairs that
were debated, text pairs whose scores came with a file, visual pairs with their tool's confidence.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, get_args

import numpy as np

from mmedpo.config import UNWEIGHTED, ScoreSettings, Unscored
from mmedpo.errors import ScoringError
from mmedpo.records import Drop, PreferencePair
from mmedpo.registry import lookup
from mmedpo.score.weightings import Scores, Weighting
from mmedpo.storage.held import Held

_Origin: TypeAlias = tuple[str, str]
"""Kind of a pair, and what gave its score."""

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

    pairs: Held[PreferencePair]
    """Weighted pairs in the order given."""
    drops: Held[Drop]
    """Unscored pairs that were left out, reason `unscored`."""
    reports: dict[str, WeightReport]
    """By source (see `_sources`); scored pairs only."""


class _Scale(NamedTuple):
    mu: float
    sigma: float
    lower: float
    upper: float


def clinical_weights(
    scores: Sequence[float],
    mode: str = DEFAULTS.weights,
    mu: float = DEFAULTS.mu,
    sigma: float = DEFAULTS.sigma,
    lower: float = DEFAULTS.lower,
    upper: float = DEFAULTS.upper,
) -> WeightReport:
    """Weights for the scores of one source.

    Args:
        scores: raw relevance in [0, 1], at least one.
        mode: registered weighting, or `none`.
        mu: mean the weights are scaled to.
        sigma: standard deviation they are scaled to, before the clip.
        lower: alpha of the paper.
        upper: beta of the paper.

    Raises:
        ScoringError: no score, a score outside [0, 1], sigma not positive, bounds not around mu, or a
            weighting that gives something else than one finite weight of 0 or more per score.
        ConfigError: no weighting of that name.
    """
    scale = _Scale(mu, sigma, lower, upper)
    _check(scale)
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
    weighting: Weighting | None = None if mode == UNWEIGHTED else lookup("weighting", mode)()
    weights = np.ones_like(s) if weighting is None else _derived(weighting, mode, s, scale)
    clipped = weighting is not None and "lower" in weighting.options
    whole = weighting is not None and "mu" in weighting.options and bool((weights == mu).all())
    at_lower = int((weights <= lower).sum()) if clipped else 0
    at_upper = int((weights >= upper).sum()) if clipped else 0
    return WeightReport(
        weights=tuple(float(w) for w in weights),
        mean=mean,
        std=std,
        at_lower=at_lower,
        at_upper=at_upper,
        warnings=_warnings(weights, constant and whole, at_lower, at_upper),
    )


def weigh_pairs(
    pairs: Sequence[PreferencePair],
    mode: str = DEFAULTS.weights,
    mu: float = DEFAULTS.mu,
    sigma: float = DEFAULTS.sigma,
    lower: float = DEFAULTS.lower,
    upper: float = DEFAULTS.upper,
    unscored: Unscored = DEFAULTS.unscored,
) -> WeighedPairs:
    """Sets the weight of every pair; statistics are taken per source (see `_sources`) over its scored pairs.

    Args:
        unscored: `drop` leaves pairs without a score out, with a named reason; `mu` keeps them with
            weight mu. Mode `none` needs no score and keeps every pair.

    Raises:
        ScoringError: as `clinical_weights`; or unknown `unscored`.
    """
    _check(_Scale(mu, sigma, lower, upper))
    if unscored not in get_args(Unscored):
        raise ScoringError(f"unscored is {unscored!r}; allowed: {', '.join(get_args(Unscored))}")
    reports: dict[str, WeightReport] = {}
    weights: dict[_Origin, Iterator[float]] = {}
    for origin, (source, scores) in _sources(pairs).items():
        reports[source] = clinical_weights(scores, mode, mu, sigma, lower, upper)
        weights[origin] = iter(reports[source].weights)
    kept, drops = Held(PreferencePair), Held(Drop)
    for pair in pairs:
        weight = None if pair.score is None else next(weights[_origin(pair)])
        if pair.kind == "answer":
            # Nothing is rejected, so no error has a relevance.
            weight = 1.0
        elif weight is None and (mode == UNWEIGHTED or unscored == "mu"):
            weight = 1.0 if mode == UNWEIGHTED else mu
        if weight is None:
            detail = pair.unscored_reason or "no reason recorded"
            drops.append(Drop(stage="score", item=pair.pair_id, reason="unscored", detail=detail))
        else:
            kept.append(pair.model_copy(update={"weight": weight}))
    return WeighedPairs(kept, drops, reports)


def _origin(pair: PreferencePair) -> _Origin:
    return pair.kind, pair.score_source or "unknown"


def _sources(pairs: Iterable[PreferencePair]) -> dict[_Origin, tuple[str, Sequence[float]]]:
    """Name and scores, in the order of the pairs, of every source: those of two origins have two scales, never mixed.

    The name is the kind of pair alone, `text` or `visual`, where all its scores have one origin; else the
    origin stands beside it: `text (debate)` and `text (imported)`.
    """
    origins: dict[str, set[str]] = defaultdict(set)
    scores: dict[_Origin, array[float]] = defaultdict(lambda: array("d"))
    for pair in pairs:
        if pair.score is not None:
            origins[pair.kind].add(pair.score_source)
            scores[_origin(pair)].append(pair.score)
    return {
        (kind, origin): (kind if len(origins[kind]) == 1 else f"{kind} ({origin})", found)
        for (kind, origin), found in scores.items()
    }


def _check(scale: _Scale) -> None:
    mu, sigma, lower, upper = scale
    if not (math.isfinite(sigma) and sigma > 0.0):
        raise ScoringError(f"sigma is {sigma}; allowed: a positive number (the paper uses sqrt(0.1))")
    if not 0.0 <= lower <= mu <= upper < math.inf:
        raise ScoringError(f"weight bounds are [{lower}, {upper}] around mu {mu}; allowed: 0 <= lower <= mu <= upper")


def _derived(weighting: Weighting, mode: str, scores: Scores, scale: _Scale) -> Scores:
    weights = weighting.derive(scores, scale)
    if weights.shape != scores.shape or not bool((np.isfinite(weights) & (weights >= 0.0)).all()):
        raise ScoringError(
            f"weighting {mode!r} gave {list(weights.shape)} weights for {list(scores.shape)} scores, or a weight "
            "that is negative or no number; it must give one finite weight of 0 or more per score"
        )
    return weights


def _warnings(weights: Scores, constant: bool, at_lower: int, at_upper: int) -> tuple[str, ...]:
    found: list[str] = []
    n = len(weights)
    if constant:
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
