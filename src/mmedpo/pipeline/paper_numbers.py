"""The paper's numbers beside ours, where model and data are the paper's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from mmedpo.config import RunSettings
from mmedpo.evaluate.scoring import metric_values
from mmedpo.pipeline.tables import MEAN
from mmedpo.records import ItemScore
from mmedpo.records.evaluation import LABELS, METRICS
from mmedpo.run import BASE, TUNED
from mmedpo.run.layout import SCORES
from mmedpo.storage.tables import read_table

MODEL = re.compile(r"llava-med(-v1\.5.*)?")
"""Names of the folder of the paper's model, LLaVA-Med v1.5 7B; not of LLaVA-Med++, which Figure 4 is about."""
SPLIT = "official"
"""Its data: with images of its own in the test split, a dataset is another one."""
PROTOCOL = "released"
"""The paper's numbers come from its released scripts."""
Numbers = Mapping[str, Mapping[str, float]]
"""Arm, or `base` -> metric, or `mean` -> percent."""


def paper_section(
    settings: RunSettings, folders: Mapping[str, Sequence[Path]], paper: Mapping[str, Numbers]
) -> list[str]:
    """A table of both; nothing where the run's model, dataset or its split is not the paper's.

    Args:
        settings: of any of the runs.
        folders: arm -> its runs, one per seed.
        paper: dataset -> what the paper reports.
    """
    numbers = paper.get(settings.data.dataset)
    its_model = MODEL.fullmatch(Path(settings.model.name).name)
    if numbers is None or its_model is None or settings.data.split != SPLIT:
        return []
    wanted = [metric for metric in (*METRICS, MEAN) if any(metric in row for row in numbers.values())]
    first = next(iter(folders.values()))
    rows = {BASE: (BASE, first), **{arm: (TUNED, paths) for arm, paths in folders.items()}}
    lines = [
        "## The paper's numbers",
        "",
        f"LLaVA-Med v1.5 7B on {settings.data.dataset}, split `{settings.evaluate.splits[0]}`, protocol `{PROTOCOL}`, "
        "which is that of the paper's scripts: ours, mean over seeds / the paper's. One number alone is ours.",
        "",
        f"| arm | {' | '.join({**LABELS, MEAN: 'mean'}[metric] for metric in wanted)} |",
        f"|---|{'---|' * len(wanted)}",
    ]
    for arm, (model, paths) in rows.items():
        ours = _ours(paths, model, settings.evaluate.splits[0])
        cells = [_beside(ours.get(metric), numbers.get(arm, {}).get(metric)) for metric in wanted]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return ["\n".join(lines)]


def _ours(folders: Sequence[Path], model: str, split: str) -> Mapping[str, float]:
    """Every metric that the split has, and their mean, percent."""
    seeds = [
        [item for item in read_table(folder / SCORES, ItemScore) if _asked(item, model, split)] for folder in folders
    ]
    found = {}
    for metric in METRICS:
        values = [metric_values(items, metric) for items in seeds]
        if all(values):
            found[metric] = 100 * fmean(fmean(seed.values()) for seed in values)
    return {**found, MEAN: fmean(found.values())} if found else {}


def _asked(item: ItemScore, model: str, split: str) -> bool:
    return (item.model, item.split, item.protocol) == (model, split, PROTOCOL)


def _beside(ours: float | None, paper: float | None) -> str:
    told = "" if ours is None else f"{ours:.2f}"
    return told if paper is None else f"{told} / {paper:.2f}".strip()
