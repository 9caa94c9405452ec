"""How well scores order things as their true values do: rank correlations with intervals over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
    levels, x = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True)
    of_truth, y = np.unique(np.asarray(truths, dtype=np.float64), return_inverse=True)
    names, owner = np.unique(np.asarray(images), return_inverse=True)
    if len(names) < 2 or len(levels) < 2 or len(of_truth) < 2:
        return None
    shape = (len(levels), len(of_truth))
    cells = x * shape[1] + y

    def table(times: NDArray[np.float64]) -> NDArray[np.float64]:
        """How many things have each score and each truth, every image counted so many times."""
        counted = np.bincount(cells, weights=times[owner], minlength=shape[0] * shape[1])
        return np.asarray(counted, dtype=np.float64).reshape(shape)

    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(names), size=len(names)) for _ in range(samples))
    drawn = [_both(table(np.bincount(draw, minlength=len(names)).astype(np.float64))) for draw in draws]
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    (tau_low, rho_low), (tau_high, rho_high) = np.nanpercentile(np.array(drawn), tails, axis=0)
    tau, rho = _both(table(np.ones(len(names))))
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


def _both(table: NDArray[np.float64]) -> tuple[float, float]:
    """Tau-b and rho of things counted by score (rows) and truth (columns), both ascending; nan where one is constant.

    Scores and truths have few values, and a resample only counts them anew: no thing is compared with any other.
    """
    rows, columns, things = table.sum(1), table.sum(0), table.sum()
    untied = [(things**2 - (side**2).sum()) / 2 for side in (rows, columns)]
    if min(untied) == 0:
        return float("nan"), float("nan")
    # Of each cell, how many things have a lower score and a lower truth, and a lower score and a higher one.
    before = np.zeros_like(table)
    before[1:] = np.cumsum(table, 0)[:-1]
    lower = np.zeros_like(table)
    lower[:, 1:] = np.cumsum(before, 1)[:, :-1]
    higher = before.sum(1, keepdims=True) - lower - before
    tau = (table * (lower - higher)).sum() / (untied[0] * untied[1]) ** 0.5
    # Ranks, those of ties their mean, from the middle: Spearman's rho is the correlation of these.
    first, second = (np.cumsum(side) - side / 2 - things / 2 for side in (rows, columns))
    spread = ((rows * first**2).sum() * (columns * second**2).sum()) ** 0.5
    return float(tau), float(first @ table @ second / spread)
