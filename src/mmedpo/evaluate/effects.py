"""What a mean difference is made of: training seeds, answer lengths, and its size beside its spread. Pure numpy.

The bootstrap of `statistics` says how sure a difference is. These say how much of it another seed would change, how
much of it is length, and how large it is in a unit that metrics share.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mmedpo.errors import EvaluationError
from mmedpo.evaluate.statistics import FloatArray, cluster_sums, paired_values
from mmedpo.records import Record


class SeedEffect(Record):
    """A mean paired difference over seeds, in the unit of the values."""

    estimate: float
    """Mean over seeds and items."""
    low: float
    """Lower bound, for a further seed's model and further images."""
    high: float
    """Upper bound."""
    standard_error: float
    """Of the estimate."""
    seed_sd: float
    """Standard deviation between seeds beyond chance; 0 where there is none."""
    image_sd: float
    """The same between images."""
    seeds: int
    """Training seeds."""
    images: int
    """Distinct images."""


class EqualLength(Record):
    """A mean paired difference at equal length of the answers, in the unit of the values."""

    estimate: float
    """The intercept."""
    low: float
    """Lower bound."""
    high: float
    """Upper bound."""
    per_unit: float
    """What one unit more of length changes."""
    n_items: int
    """Items."""


def seed_effect(
    runs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    clusters: Mapping[str, str],
    level: float = 0.95,
) -> SeedEffect | None:
    """The mean paired difference with seeds and images as crossed random effects; None with one seed or one image.

    y = mu + seed + image + rest, one value for every seed and image, by the method of moments of the two-way table
    (Searle, Casella and McCulloch, Variance Components, 1992, ch. 4), which for one question an image is REML where no
    component is negative. Images with several questions enter by the linearised ratio of their sums. The interval is a
    t interval with Satterthwaite's degrees of freedom.

    Args:
        runs: one (a, b) per training seed, item -> value, all over the same items.
        clusters: item -> image.
        level: coverage in (0, 1).

    Raises:
        EvaluationError: runs over different items, or as in `statistics.paired_difference`.
    """
    sums, counts = cluster_sums([paired_values(a, b) for a, b in runs], clusters)
    seeds, images = sums.shape
    if seeds < 2 or images < 2:
        return None
    mean = float(sums.sum() / (seeds * counts.sum()))
    table = (sums - mean * counts) * images / counts.sum()
    free = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)], dtype=np.float64)
    of_seeds, of_images, of_rest = _squares(table) / free
    seed_variance = max(0.0, float(of_seeds - of_rest) / images)
    image_variance = max(0.0, float(of_images - of_rest) / seeds)
    # Components below zero are zero: their mean squares then estimate what the rest does.
    used = np.array([of_seeds if seed_variance else of_rest, of_images if image_variance else of_rest, -of_rest])
    variance = float(used.sum()) / (seeds * images)
    spread = float((used**2 / free).sum())
    degrees = float(used.sum()) ** 2 / spread if spread else float(free.min())
    half = _quantile(level, degrees) * math.sqrt(variance)
    return SeedEffect(
        estimate=mean,
        low=mean - half,
        high=mean + half,
        seed_sd=math.sqrt(seed_variance),
        image_sd=math.sqrt(image_variance),
        standard_error=math.sqrt(variance),
        seeds=seeds,
        images=images,
    )


def _squares(table: FloatArray) -> FloatArray:
    """Sums of squares of a two-way table [seed, image]: of seeds, of images, of the rest."""
    by_seed, by_image = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    parts = (by_seed - table.mean(), by_image - table.mean(), table - by_seed - by_image + table.mean())
    return np.array([float((np.broadcast_to(part, table.shape) ** 2).sum()) for part in parts])


def standardised(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    """Cohen's d_z: mean of a minus b over the standard deviation of the differences of single questions.

    About 0.2 is called small, 0.5 medium, 0.8 large (Cohen, 1988, p. 48). None with fewer than two questions, or where
    all differences are equal.

    Raises:
        EvaluationError: the items differ.
    """
    differences = np.array(list(paired_values(a, b).values()), dtype=np.float64)
    if len(differences) < 2:
        return None
    spread = float(differences.std(ddof=1))
    return float(differences.mean()) / spread if spread > 1e-12 else None


def length_controlled(
    a: Mapping[str, float],
    b: Mapping[str, float],
    longer: Mapping[str, float],
    clusters: Mapping[str, str],
    level: float = 0.95,
) -> EqualLength | None:
    """The paired difference at equal length of the answers: the intercept of a regression on the difference in length.

    Ordinary least squares with cluster-robust errors (CR1, t with images - 1 degrees of freedom; Cameron and Miller,
    Journal of Human Resources, 2015). As with length-controlled win rates (Dubois et al., COLM 2024), what length
    explains is taken out, be it cause or not.

    Args:
        a: item -> value of one model.
        b: item -> value of the other; the same items.
        longer: item -> how much longer a's answer is, e.g. log((words + 1) / (words + 1)).
        clusters: item -> image.
        level: coverage in (0, 1).

    Returns:
        None where all lengths differ by the same amount, or with fewer than three images.

    Raises:
        EvaluationError: the items differ, or one has no length or image.
    """
    differences = paired_values(a, b)
    items = sorted(differences)
    missing = [item for item in items if item not in longer or item not in clusters]
    if missing:
        raise EvaluationError(f"{len(missing)} item(s) without length or image: {', '.join(missing[:5])}")
    y = np.array([differences[item] for item in items], dtype=np.float64)
    x = np.column_stack([np.ones(len(items)), [longer[item] for item in items]])
    names, index = np.unique([clusters[item] for item in items], return_inverse=True)
    if len(names) < 3 or float(np.ptp(x[:, 1])) < 1e-12:
        return None
    inverse = np.linalg.inv(x.T @ x)
    fitted = inverse @ x.T @ y
    scores = np.zeros((len(names), 2))
    np.add.at(scores, index, x * (y - x @ fitted)[:, None])
    correction = len(names) / (len(names) - 1) * (len(items) - 1) / (len(items) - 2)
    covariance = correction * inverse @ (scores.T @ scores) @ inverse
    half = _quantile(level, len(names) - 1) * math.sqrt(covariance[0, 0])
    estimate = float(fitted[0])
    return EqualLength(
        estimate=estimate, low=estimate - half, high=estimate + half, per_unit=float(fitted[1]), n_items=len(items)
    )


def _quantile(level: float, degrees: float) -> float:
    return float(importlib.import_module("scipy.special").stdtrit(degrees, (1 + level) / 2))
