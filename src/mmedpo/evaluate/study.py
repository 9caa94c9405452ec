"""Several arms over several seeds: paired differences with intervals over images and seeds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.evaluate.scoring import image_clusters, metric_values
from mmedpo.evaluate.statistics import mean_interval, paired_difference_over_seeds
from mmedpo.records import Cell, Contrast, ItemScore, Reliance, RelianceCell
from mmedpo.records.evaluation import METRICS

SeedItems = Sequence[Sequence[ItemScore]]
"""Scored answers of one model, one entry per seed, all on the same questions."""


def study_cells(split: str, base: SeedItems, arms: Mapping[str, SeedItems], samples: int) -> list[Cell]:
    """Every arm against the base, on every metric the split has."""
    cells = []
    for metric in METRICS:
        base_values = [metric_values(items, metric) for items in base]
        if not base_values[0]:
            continue
        clusters = image_clusters(base[0])
        questions = len(base_values[0])
        images = len({clusters[item] for item in base_values[0]})
        cells.append(_cell("base", split, metric, base_values, questions, images))
        for arm, seeds in arms.items():
            values = [metric_values(items, metric) for items in seeds]
            interval = paired_difference_over_seeds(
                list(zip(values, base_values, strict=True)), clusters, samples=samples, seed=0
            )
            cells.append(
                _cell(arm, split, metric, values, questions, images).model_copy(
                    update={"difference": interval.estimate, "low": interval.low, "high": interval.high}
                )
            )
    return cells


def study_contrasts(split: str, arms: Mapping[str, SeedItems], first: str, samples: int) -> list[Contrast]:
    """One arm against every other, on every metric the split has."""
    found = []
    for metric in METRICS:
        own = [metric_values(items, metric) for items in arms[first]]
        if not own[0]:
            continue
        clusters = image_clusters(arms[first][0])
        for other in arms:
            if other == first:
                continue
            theirs = [metric_values(items, metric) for items in arms[other]]
            interval = paired_difference_over_seeds(
                list(zip(own, theirs, strict=True)), clusters, samples=samples, seed=0
            )
            found.append(
                Contrast(
                    split=split,
                    metric=metric,
                    arm=first,
                    against=other,
                    difference=interval.estimate,
                    low=interval.low,
                    high=interval.high,
                )
            )
    return found


def study_reliance(
    base: Sequence[Sequence[Reliance]], arms: Mapping[str, Sequence[Sequence[Reliance]]], samples: int
) -> list[RelianceCell]:
    """Lesion reliance of every arm, paired with the base by question and seed."""
    clusters = {item.example_id: item.image_sha256 for item in base[0]}
    if not clusters:
        return []
    cells = [_reliance("base", base)]
    for arm, seeds in arms.items():
        interval = paired_difference_over_seeds(
            [(_contrast(a), _contrast(b)) for a, b in zip(seeds, base, strict=True)], clusters, samples=samples, seed=0
        )
        cells.append(
            _reliance(arm, seeds).model_copy(
                update={"difference": interval.estimate, "low": interval.low, "high": interval.high}
            )
        )
    return cells


def base_reliance_interval(base: Sequence[Reliance], samples: int) -> tuple[float, float, float]:
    """Contrast of the base with its interval over images."""
    clusters = {item.example_id: item.image_sha256 for item in base}
    interval = mean_interval(_contrast(base), clusters, samples=samples, seed=0)
    return interval.estimate, interval.low, interval.high


def _cell(
    arm: str, split: str, metric: str, values: Sequence[Mapping[str, float]], questions: int, images: int
) -> Cell:
    per_seed = tuple(sum(seed.values()) / len(seed) for seed in values)
    mean = sum(per_seed) / len(per_seed)
    return Cell(arm=arm, split=split, metric=metric, mean=mean, per_seed=per_seed, questions=questions, images=images)


def _contrast(items: Sequence[Reliance]) -> dict[str, float]:
    return {item.example_id: item.elsewhere - item.lesion for item in items}


def _reliance(arm: str, seeds: Sequence[Sequence[Reliance]]) -> RelianceCell:
    every = [item for seed in seeds for item in seed]
    return RelianceCell(
        arm=arm,
        lesion=sum(item.clean - item.lesion for item in every) / len(every),
        elsewhere=sum(item.clean - item.elsewhere for item in every) / len(every),
    )
