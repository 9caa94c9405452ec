"""How well a map marks a lesion, per image, and how sure the mean over patients is. Pure numpy.

A map is any float array [H, W]; a lesion a bool array of the same size with at least one pixel True.
No measure depends on how a map breaks its ties: where several places share the highest value, each
counts for its share.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Whole = NDArray[np.int64]

DRAWS = 2000
"""Bootstrap draws; whole patients are drawn."""
OVERLAP_LEVELS = (0.25, 0.5, 0.75)
"""A map's marked region: where it reaches this share of its own peak."""
BINS = 10
"""Bins of the calibration, equally many images in each as far as possible."""


class Measure(BaseModel):
    """A number with its 95 % bootstrap interval over patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int
    """Images it is taken over."""
    patients: int = 0
    """Patients they come from."""


def pointing(values: NDArray[np.floating], lesion: Flags) -> float:
    """Share of the map's highest places that lie in the lesion: pointing game (Zhang et al. 2018), ties by share."""
    return float(lesion[values >= values.max()].mean())


def energy(values: NDArray[np.floating], lesion: Flags) -> float:
    """Share of the map's sum inside the lesion (Wang et al. 2020); a map of zeros holds none anywhere."""
    total = float(values.sum())
    return float(values[lesion].sum()) / total if total > 0 else 0.0


def overlap(values: NDArray[np.floating], lesion: Flags, level: float) -> float:
    """Intersection over union of the lesion and the places at or above `level` times the peak."""
    marked = values >= level * values.max() if values.max() > 0 else np.zeros(lesion.shape, dtype=bool)
    return float((marked & lesion).sum() / (marked | lesion).sum())


def auc(scores: NDArray[np.floating], positive: Flags) -> float:
    """Probability that a positive outscores a negative, ties counted half (Mann-Whitney); nan with one class only."""
    if positive.all() or not positive.any():
        return float("nan")
    order = np.sort(scores[~positive])
    below = np.searchsorted(order, scores[positive], side="left")
    not_above = np.searchsorted(order, scores[positive], side="right")
    return float((below + not_above).mean() / (2 * len(order)))


def pixel_auc(values: NDArray[np.floating], lesion: Flags) -> float:
    """Probability that a pixel of the lesion is hotter than one outside; nan when the lesion is the whole image."""
    return auc(values.ravel(), lesion.ravel())


def localisation(values: NDArray[np.floating], lesion: Flags) -> dict[str, float]:
    """Every measure of one map, by name."""
    found = {"peak in lesion": pointing(values, lesion), "energy in lesion": energy(values, lesion)}
    found |= {f"IoU at {level:g} of the peak": overlap(values, lesion, level) for level in OVERLAP_LEVELS}
    return {**found, "pixel AUC": pixel_auc(values, lesion)}


def centre_prior(height: int, width: int) -> Floats:
    """A Gaussian bump [height, width] at the image's centre, a quarter of each side wide, peak 1: looks at nothing."""
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    return np.asarray(np.exp(-0.5 * ((rows[:, None] / 0.25) ** 2 + (columns[None, :] / 0.25) ** 2)))


def calibration(confidences: Floats, positive: Flags) -> list[tuple[float, float, int]]:
    """(mean confidence, share with a lesion, images) of each bin, least confident first.

    Images are weighted as if half of them had a lesion: data sets are collected, not sampled, so that their
    share of lesions says nothing of anybody's patients.
    """
    weights = np.where(positive, 0.5 / max(positive.sum(), 1), 0.5 / max((~positive).sum(), 1))
    order = np.argsort(confidences, kind="stable")
    parts = np.array_split(order, min(BINS, max(1, len(order) // 5)))
    return [
        (
            float(np.average(confidences[part], weights=weights[part])),
            float(np.average(positive[part], weights=weights[part])),
            len(part),
        )
        for part in parts
        if len(part) > 0
    ]


def calibration_error(confidences: Floats, positive: Flags) -> float:
    """Mean distance of confidence and share over the bins, weighted as in `calibration`; nan with one class only."""
    if positive.all() or not positive.any():
        return float("nan")
    weights = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    parts = np.array_split(np.argsort(confidences, kind="stable"), min(BINS, max(1, len(positive) // 5)))
    apart = [float((weights[part] * (confidences[part] - positive[part])).sum()) for part in parts]
    return float(np.abs(apart).sum())


def mean_by_patient(values: Floats, groups: Whole, seed: int) -> Measure:
    """Mean over patients of each patient's mean: a patient with 20 films counts once. nan values are left out.

    Args:
        values: [n] one per image.
        groups: [n] patient number.
    """
    known = ~np.isnan(values)
    _, place = np.unique(groups[known], return_inverse=True)
    counts = np.bincount(place)
    if len(counts) == 0:
        return Measure(value=float("nan"), low=float("nan"), high=float("nan"), n=0)
    means = np.bincount(place, weights=values[known]) / counts
    drawn = np.random.default_rng([seed, len(means)]).integers(len(means), size=(DRAWS, len(means)))
    low, high = np.quantile(means[drawn].mean(axis=1), (0.025, 0.975))
    return Measure(value=float(means.mean()), low=float(low), high=float(high), n=int(known.sum()), patients=len(means))


def auc_by_patient(scores: Floats, positive: Flags, groups: Whole, seed: int) -> Measure:
    """AUC over images; the interval draws whole patients, and draws of one class only say nothing."""
    return _drawn(lambda rows: auc(scores[rows], positive[rows]), groups, seed)


def calibration_by_patient(confidences: Floats, positive: Flags, groups: Whole, seed: int) -> Measure:
    """Expected calibration error over images; the interval draws whole patients."""
    return _drawn(lambda rows: calibration_error(confidences[rows], positive[rows]), groups, seed)


def _drawn(statistic: Callable[[Whole], float], groups: Whole, seed: int) -> Measure:
    members = [np.flatnonzero(groups == patient) for patient in np.unique(groups)]
    everything = np.arange(len(groups), dtype=np.int64)
    rng = np.random.default_rng([seed, len(groups)])
    draws = (rng.integers(len(members), size=len(members)) for _ in range(DRAWS))
    values = np.array([statistic(np.concatenate([members[place] for place in chosen])) for chosen in draws])
    kept = values[~np.isnan(values)] if not np.isnan(values).all() else np.array([np.nan])
    low, high = np.quantile(kept, (0.025, 0.975))
    return Measure(
        value=statistic(everything), low=float(low), high=float(high), n=len(everything), patients=len(members)
    )
