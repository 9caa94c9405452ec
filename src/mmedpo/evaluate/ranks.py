"""How well scores order things as their true values do: rank correlations with intervals over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau, spearmanr

from mmedpo.records import Record

LEVEL = 0.95


class RankCorrelation(Record):
    """Of scores and true values."""

    tau: float
    """Kendall's tau-b, which allows for ties."""
    tau_low: float
    tau_high: float
    rho: float
    """Spearman's."""
    rho_low: float
    rho_high: float
    pairs: int
    """Things compared."""
    images: int
    """They are of; whole images are resampled."""


def rank_correlation(
    scores: Sequence[float], truths: Sequence[float], images: Sequence[str], samples: int, seed: int = 0
) -> RankCorrelation | None:
    """Correlation and its percentile interval, whole images resampled; None where all scores, or all truths, are alike.

    Args:
        scores: of each thing.
        truths: its true value.
        images: what it is of.
        samples: resamples; those in which nothing differs say nothing.
        seed: of the resampling.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truths, dtype=np.float64)
    names, owner = np.unique(np.asarray(images), return_inverse=True)
    if len(names) < 2 or len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return None
    rows = [np.flatnonzero(owner == number) for number in range(len(names))]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(samples):
        chosen = np.concatenate([rows[number] for number in rng.integers(len(names), size=len(names))])
        drawn.append(_both(x[chosen], y[chosen]))
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    (tau_low, rho_low), (tau_high, rho_high) = np.nanpercentile(np.array(drawn), tails, axis=0)
    tau, rho = _both(x, y)
    return RankCorrelation(
        tau=tau,
        tau_low=tau_low,
        tau_high=tau_high,
        rho=rho,
        rho_low=rho_low,
        rho_high=rho_high,
        pairs=len(x),
        images=len(names),
    )


def _both(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return float("nan"), float("nan")
    return float(kendalltau(x, y).statistic), float(spearmanr(x, y).statistic)
