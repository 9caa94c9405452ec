"""How well a map marks a lesion, per image, and how sure the mean over patients is. Pure numpy.

A map is any float array [H, W]; a lesion a bool array of the same size with at least one pixel True.
No measure depends on how a map breaks its ties: where several places share the highest value, each
counts for its share.
"""

from __future__ import annotations

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
    """(mean confidence, share with a lesion, images) of each bin, least confident first; equal confidences share one.

    Images are weighted as if half of them had a lesion: data sets are collected, not sampled, so that their
    share of lesions says nothing of anybody's patients.
    """
    weights = _halves(positive)
    return [
        (
            float(np.average(confidences[rows], weights=weights[rows])),
            float(np.average(positive[rows], weights=weights[rows])),
            int(rows.sum()),
        )
        for rows in _bins(confidences)
    ]


def calibration_error(confidences: Floats, positive: Flags) -> float:
    """Mean distance of confidence and share over the bins, weighted as in `calibration`; nan with one class only."""
    if positive.all() or not positive.any():
        return float("nan")
    apart = _halves(positive) * (confidences - positive)
    return float(sum(abs(float(apart[rows].sum())) for rows in _bins(confidences)))


def _halves(positive: Flags) -> Floats:
    return np.where(positive, 0.5 / max(int(positive.sum()), 1), 0.5 / max(int((~positive).sum()), 1))


def _bins(confidences: Floats) -> list[Flags]:
    edges = np.unique(np.quantile(confidences, np.linspace(0.0, 1.0, min(BINS, max(1, len(confidences) // 5)) + 1)))
    place = np.searchsorted(edges, confidences, side="left")
    return [place == number for number in np.unique(place)]


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
    above = scores[positive][:, None] - scores[~positive][None, :]
    won = np.where(above > 0, 1.0, np.where(above < 0, 0.0, 0.5))
    times = _times(groups, seed)
    with_lesion, without = times[:, positive], times[:, ~positive]
    pairs = with_lesion.sum(axis=1) * without.sum(axis=1)
    drawn = np.divide(((with_lesion @ won) * without).sum(axis=1), pairs, where=pairs > 0, out=np.full(DRAWS, np.nan))
    return _measure(auc(scores, positive), drawn, groups)


def calibration_by_patient(confidences: Floats, positive: Flags, groups: Whole, seed: int) -> Measure:
    """Expected calibration error over images, in bins of all of them; the interval draws whole patients."""
    bins = np.stack(_bins(confidences), axis=1).astype(np.float64)
    times = _times(groups, seed)
    apart = np.zeros((DRAWS, bins.shape[1]))
    known = np.ones(DRAWS, dtype=bool)
    for flag in (positive, ~positive):
        total = times[:, flag].sum(axis=1)
        known &= total > 0
        error = (confidences - positive)[flag][:, None] * bins[flag]
        apart += times[:, flag] @ error * (0.5 / np.maximum(total, 1))[:, None]
    drawn = np.where(known, np.abs(apart).sum(axis=1), np.nan)
    return _measure(calibration_error(confidences, positive), drawn, groups)


def _times(groups: Whole, seed: int) -> Floats:
    """[DRAWS, n] how often each image is in each draw of whole patients."""
    _, place = np.unique(groups, return_inverse=True)
    patients = int(place.max()) + 1
    drawn = np.random.default_rng([seed, len(groups)]).multinomial(
        patients, np.full(patients, 1 / patients), size=DRAWS
    )
    return np.asarray(drawn[:, place], dtype=np.float64)


def _measure(value: float, drawn: Floats, groups: Whole) -> Measure:
    kept = drawn[~np.isnan(drawn)]
    low, high = np.quantile(kept, (0.025, 0.975)) if len(kept) else (np.nan, np.nan)
    return Measure(value=value, low=float(low), high=float(high), n=len(groups), patients=len(np.unique(groups)))
