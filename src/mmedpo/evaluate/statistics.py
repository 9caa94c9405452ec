"""How sure a difference is: cluster bootstrap over images, p-values from it, Holm's correction.

Questions about one image are not independent (VQA-RAD's 451 test questions share 203 images), so
whole images are resampled, with all their questions. Pure numpy and scipy; bit-reproducible from
the seed and independent of the order of the mappings.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mmedpo.errors import EvaluationError, TooFewImages, listed
from mmedpo.records import Record

FloatArray = npt.NDArray[np.float64]

_NOISE = 1e-12
"""Sums of differences that cancel end this near to 0, on either side, and would be called a rise or a fall."""
_CHUNK_CELLS = 4_000_000
"""Resampled clusters held in memory at once."""


class Interval(Record):
    """An estimate with its confidence interval, in the unit of the values given."""

    estimate: float
    """Mean over items (all seeds pooled)."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    level: float
    """Confidence level, e.g. 0.95."""
    n_items: int
    """Distinct items."""
    n_clusters: int
    """Distinct images."""
    p_value: float
    """Two-sided p-value of the estimate being 0, from the resamples behind the interval (`_p_value`)."""
    n_seeds: int = 1
    """Training seeds pooled; with 1 the interval says nothing about the spread between trainings."""


def mean_interval(
    values: Mapping[str, float],
    clusters: Mapping[str, str],
    *,
    samples: int,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Mean of one model's values with a cluster-bootstrap interval; arguments as in `paired_difference`."""
    return _bootstrap([values], clusters, samples=samples, level=level, seed=seed)


def paired_difference(
    a: Mapping[str, float],
    b: Mapping[str, float],
    clusters: Mapping[str, str],
    *,
    samples: int,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Mean of a minus b over the same items, with an expanded percentile interval from a cluster bootstrap over images.

    In every resample as many images are drawn, with replacement, as there are; the statistic is the ratio of
    summed differences to summed counts, so that large clusters weigh as in the estimate (Cameron, Gelbach and
    Miller, 2008; Efron and Tibshirani, 1993, ch. 13). The cut is widened for few images (`_expanded_tail`); under
    about 20 images read it with care all the same.

    Args:
        a: item -> value of the first model, e.g. the tuned one.
        b: item -> value of the second model; the same items.
        clusters: item -> image; may hold more items.
        samples: number of resamples.
        level: confidence level in (0, 1).
        seed: seed of the resampling; the same seed draws the same images.

    Raises:
        EvaluationError: the items differ, a cluster or a finite value is missing, or there are fewer than 2 clusters.
    """
    return _bootstrap([paired_values(a, b)], clusters, samples=samples, level=level, seed=seed)


def paired_difference_over_seeds(
    runs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    clusters: Mapping[str, str],
    *,
    samples: int,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """As `paired_difference`, pooled over training seeds: one (a, b) per seed, in any order of meaning to the caller.

    Two-way bootstrap: images and seeds are resampled independently and crossed, because all seeds are tested on the
    same images (the pigeonhole bootstrap of Owen, 2007). With fewer than about 5 seeds that vary much it is too
    narrow. With one run it is `paired_difference`.

    Raises:
        EvaluationError: no runs, runs over different items, or as in `paired_difference`.
    """
    if not runs:
        raise EvaluationError("no runs to compare; give one pair of value mappings per training seed")
    differences = [paired_values(a, b) for a, b in runs]
    for number, other in enumerate(differences[1:], start=2):
        _same_items(differences[0], other, "run 1", f"run {number}")
    return _bootstrap(differences, clusters, samples=samples, level=level, seed=seed)


def mean_of_means(
    parts: Sequence[Mapping[str, float]],
    clusters: Mapping[str, str],
    *,
    samples: int,
    level: float = 0.95,
    seed: int,
) -> Interval:
    """Mean of the parts' own means, each weighing the same whatever its size; images are resampled for all at once.

    Args:
        parts: item -> value, of each part; items may stand in several parts.
        clusters: item -> image; arguments else as in `paired_difference`.
        samples: number of resamples.
        level: confidence level in (0, 1).
        seed: seed of the resampling.

    Raises:
        EvaluationError: as `paired_difference`; a part is empty.
    """
    images = sorted({clusters[item] for part in parts for item in part})
    sums, counts = np.zeros((len(parts), len(images))), np.zeros((len(parts), len(images)))
    for number, part in enumerate(parts):
        own = sorted({clusters[item] for item in part})
        places = np.searchsorted(images, own)
        (sums[number, places],), counts[number, places] = cluster_sums([part], clusters)
    if len(images) < 2:
        raise TooFewImages(f"an interval needs at least 2 images, got {len(images)}; evaluate on more images")
    rng, chunk = np.random.default_rng([seed, 0]), max(1, _CHUNK_CELLS // len(images))
    resampled: list[FloatArray] = []
    for start in range(0, samples, chunk):
        drawn = _draw_counts(rng, min(chunk, samples - start), len(images))
        asked = drawn @ counts.T
        # A small part may have no image in a resample: the others speak then.
        means = np.divide(drawn @ sums.T, asked, out=np.zeros_like(asked), where=asked > 0)
        resampled.append(means.sum(axis=1) / (asked > 0).sum(axis=1))
    every, tail = np.concatenate(resampled), _expanded_tail(level, len(images))
    low, high = np.quantile(every, [tail, 1 - tail])
    return Interval(
        estimate=float(np.mean(sums.sum(axis=1) / counts.sum(axis=1))),
        low=float(low),
        high=float(high),
        level=level,
        n_items=len({item for part in parts for item in part}),
        n_clusters=len(images),
        p_value=_p_value(every, len(images)),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down adjusted p-values, in the order given: reject where adjusted <= alpha (Holm, 1979).

    Raises:
        EvaluationError: a p-value lies outside [0, 1].
    """
    for name, value in p_values.items():
        if not 0.0 <= value <= 1.0:
            raise EvaluationError(f"p-value of {name!r} is {value}; it must lie in [0, 1]")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _bootstrap(
    runs: Sequence[Mapping[str, float]], clusters: Mapping[str, str], *, samples: int, level: float, seed: int
) -> Interval:
    """Expanded percentile interval of the pooled mean; resamples clusters and, where there are several runs, runs."""
    if samples < 1 or not 0.0 < level < 1.0:
        raise EvaluationError(f"samples = {samples}, level = {level}: need samples >= 1 and 0 < level < 1")
    sums, counts = cluster_sums(runs, clusters)
    n_runs, n_clusters = sums.shape
    if n_clusters < 2:
        raise TooFewImages(f"an interval needs at least 2 images, got {n_clusters}; evaluate on more images")
    images = np.random.default_rng([seed, 0])
    trainings = np.random.default_rng([seed, 1])
    statistics: list[FloatArray] = []
    chunk = max(1, _CHUNK_CELLS // n_clusters)
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        drawn = _draw_counts(images, size, n_clusters)
        seeds = _draw_counts(trainings, size, n_runs) if n_runs > 1 else np.ones((size, 1))
        totals = np.einsum("sr,sr->s", drawn @ sums.T, seeds)
        statistics.append(totals / ((drawn @ counts) * n_runs))
    tail = _expanded_tail(level, n_clusters)
    resampled = np.concatenate(statistics)
    resampled[np.abs(resampled) < _NOISE] = 0.0
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return Interval(
        estimate=float(sums.sum() / (counts.sum() * n_runs)),
        low=float(low),
        high=float(high),
        level=level,
        n_items=int(counts.sum()),
        n_clusters=n_clusters,
        n_seeds=n_runs,
        p_value=_p_value(resampled, n_clusters),
    )


def _expanded_tail(level: float, n_clusters: int) -> float:
    """Tail probability at which the resamples are cut: Phi(-sqrt(n / (n - 1)) * t_{n-1}), a little below the nominal.

    The expanded percentile interval (Hesterberg, The American Statistician, 2015): it undoes the two ways in which
    plain percentiles are too narrow for n clusters, the missing n / (n - 1) and normal instead of t tails.
    """
    special = importlib.import_module("scipy.special")
    quantile = special.stdtrit(n_clusters - 1, (1 + level) / 2)
    return float(special.ndtr(-math.sqrt(n_clusters / (n_clusters - 1)) * quantile))


def _p_value(resampled: FloatArray, n_clusters: int) -> float:
    """One minus the largest level at which the expanded percentile interval still leaves 0 out.

    The share of resamples on the other side of 0, counting the estimate itself as one more resample so that no
    p-value is 0 (Davison and Hinkley, 1997, ch. 4), is turned back from expanded to nominal tail.
    """
    special = importlib.import_module("scipy.special")
    other_side = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    tail = (other_side + 1) / (len(resampled) + 1)
    quantile = special.ndtri(tail) / math.sqrt(n_clusters / (n_clusters - 1))
    return min(1.0, 2 * float(special.stdtr(n_clusters - 1, quantile)))


def _draw_counts(rng: np.random.Generator, samples: int, n: int) -> FloatArray:
    """[samples, n]: how often each of n things is drawn when n are drawn with replacement."""
    drawn = rng.integers(0, n, size=(samples, n))
    drawn += n * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * n).reshape(samples, n).astype(np.float64)


def cluster_sums(runs: Sequence[Mapping[str, float]], clusters: Mapping[str, str]) -> tuple[FloatArray, FloatArray]:
    """Sums [run, cluster] and counts [cluster]; items and clusters in sorted order, so nothing depends on theirs."""
    items = sorted(runs[0])
    if not items:
        raise EvaluationError("no items to compare; the metric is absent from these scores")
    missing = [item for item in items if item not in clusters]
    if missing:
        raise EvaluationError(f"{len(missing)} item(s) without an image: {', '.join(missing[:5])}")
    values = np.array([[run[item] for item in items] for run in runs], dtype=np.float64)
    if not np.isfinite(values).all():
        item = items[int(np.argwhere(~np.isfinite(values))[0][1])]
        raise EvaluationError(f"value of item {item!r} is not a finite number; leave unscored items out")
    _, index = np.unique([clusters[item] for item in items], return_inverse=True)
    counts: FloatArray = np.bincount(index).astype(np.float64)
    sums: FloatArray = np.stack([np.bincount(index, weights=row) for row in values]).astype(np.float64)
    return sums, counts


def paired_values(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    _same_items(a, b, "a", "b")
    return {item: a[item] - b[item] for item in a}


def _same_items(a: Mapping[str, float], b: Mapping[str, float], name_a: str, name_b: str) -> None:
    different = sorted(a.keys() ^ b.keys())
    if different:
        raise EvaluationError(
            f"{name_a} and {name_b} differ in {len(different)} item(s): {listed(different)}; "
            "compare scores of the same items"
        )
