"""Several arms over several seeds: paired differences with intervals over images and seeds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from mmedpo.evaluate.effects import seed_effect
from mmedpo.evaluate.probes import Probe
from mmedpo.evaluate.scoring import image_clusters, metric_values
from mmedpo.evaluate.statistics import Interval, holm, mean_interval, paired_difference_over_seeds
from mmedpo.records import Cell, Contrast, ItemScore, Measurement, ProbeCell
from mmedpo.records.evaluation import METRICS

SeedItems = Sequence[Sequence[ItemScore]]
"""Scored answers of one model, one entry per seed, all on the same questions."""
SeedRows = Sequence[Sequence[Measurement]]
"""What a probe measured of one model, one entry per seed, all on the same questions."""
SeedValues = Sequence[Mapping[str, float]]
"""One quantity of one model by question, one entry per seed."""

Compared = TypeVar("Compared", Cell, Contrast, ProbeCell)


def study_cells(split: str, base: SeedItems, arms: Mapping[str, SeedItems], samples: int) -> list[Cell]:
    """One table: every arm against the base, on every metric the split has."""
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
            cell = _compared(_cell(arm, split, metric, values, questions, images), interval)
            seeded = seed_effect(list(zip(values, base_values, strict=True)), clusters)
            if seeded is not None:
                found = {"seed_low": seeded.low, "seed_high": seeded.high, "seed_sd": seeded.seed_sd}
                cell = cell.model_copy(update=found)
            cells.append(cell)
    return _adjusted(cells)


def study_contrasts(split: str, arms: Mapping[str, SeedItems], first: str, samples: int) -> list[Contrast]:
    """One table: one arm against every other, on every metric the split has."""
    found = []
    for metric in METRICS:
        own = [metric_values(items, metric) for items in arms[first]]
        if not own[0]:
            continue
        clusters = image_clusters(arms[first][0])
        others = {arm: [metric_values(items, metric) for items in seeds] for arm, seeds in arms.items() if arm != first}
        found += _against(split, metric, first, own, others, clusters, samples)
    return _adjusted(found)


def study_probe_contrasts(probe: Probe[Any], arms: Mapping[str, SeedRows], first: str, samples: int) -> list[Contrast]:
    """One table: the headline quantity of one arm against that of every other; of no split in particular."""
    if not all(seed for seeds in arms.values() for seed in seeds):
        return []
    clusters = {row.example_id: row.image_sha256 for row in arms[first][0]}
    values = {arm: [probe.values(rows)[probe.headline] for rows in seeds] for arm, seeds in arms.items()}
    own = values.pop(first)
    return _adjusted(_against("", probe.headline, first, own, values, clusters, samples))


def study_probe(probe: Probe[Any], base: SeedRows, arms: Mapping[str, SeedRows], samples: int) -> list[ProbeCell]:
    """One table: the headline quantity of every arm, paired with the base's by question and seed."""
    if not all(seed for seeds in (base, *arms.values()) for seed in seeds):
        return []
    clusters = {row.example_id: row.image_sha256 for row in base[0]}
    cells = [_probe_cell("base", probe, base)]
    for arm, seeds in arms.items():
        headlines = [
            (probe.values(own)[probe.headline], probe.values(others)[probe.headline])
            for own, others in zip(seeds, base, strict=True)
        ]
        interval = paired_difference_over_seeds(headlines, clusters, samples=samples, seed=0)
        cells.append(_compared(_probe_cell(arm, probe, seeds), interval))
    return _adjusted(cells)


def _against(
    split: str,
    metric: str,
    arm: str,
    own: SeedValues,
    others: Mapping[str, SeedValues],
    clusters: Mapping[str, str],
    samples: int,
) -> list[Contrast]:
    found = []
    for other, theirs in others.items():
        pairs = list(zip(own, theirs, strict=True))
        interval = paired_difference_over_seeds(pairs, clusters, samples=samples, seed=0)
        found.append(
            Contrast(
                split=split,
                metric=metric,
                arm=arm,
                against=other,
                difference=interval.estimate,
                low=interval.low,
                high=interval.high,
                p_value=interval.p_value,
                p_adjusted=interval.p_value,
            )
        )
    return found


def headline_interval(probe: Probe[Any], rows: Sequence[Measurement], samples: int) -> Interval:
    """The probe's headline quantity of one model, with its interval over images."""
    clusters = {row.example_id: row.image_sha256 for row in rows}
    return mean_interval(probe.values(rows)[probe.headline], clusters, samples=samples, seed=0)


def _cell(
    arm: str, split: str, metric: str, values: Sequence[Mapping[str, float]], questions: int, images: int
) -> Cell:
    per_seed = tuple(sum(seed.values()) / len(seed) for seed in values)
    mean = sum(per_seed) / len(per_seed)
    return Cell(arm=arm, split=split, metric=metric, mean=mean, per_seed=per_seed, questions=questions, images=images)


def _probe_cell(arm: str, probe: Probe[Any], seeds: SeedRows) -> ProbeCell:
    """Means over all questions of all seeds."""
    per_seed = [probe.values(rows) for rows in seeds]
    means = {}
    for quantity in probe.quantities:
        every = [value for values in per_seed for value in values[quantity].values()]
        means[quantity] = sum(every) / len(every)
    return ProbeCell(arm=arm, means=means)


def _compared(cell: Compared, interval: Interval) -> Compared:
    found = {"difference": interval.estimate, "low": interval.low, "high": interval.high, "p_value": interval.p_value}
    return cell.model_copy(update=found)


def _adjusted(table: Sequence[Compared]) -> list[Compared]:
    """The same table with p-values adjusted for all of its comparisons."""
    p_values = holm({str(n): item.p_value for n, item in enumerate(table) if item.p_value is not None})
    return [
        item.model_copy(update={"p_adjusted": p_values[str(n)]}) if str(n) in p_values else item
        for n, item in enumerate(table)
    ]
