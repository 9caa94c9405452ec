"""From the run folders of a study to its written table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from mmedpo.config import RunSettings, load_settings
from mmedpo.evaluate.metrics import meteor_label
from mmedpo.evaluate.scoring import score_predictions
from mmedpo.evaluate.study import base_reliance_interval, study_cells, study_contrasts, study_reliance
from mmedpo.records import Cell, Contrast, Example, ItemScore, Prediction, Reliance, RelianceCell
from mmedpo.records.evaluation import LABELS, METRICS
from mmedpo.run.layout import RESOLVED
from mmedpo.storage.tables import read_table, write_text

COLUMNS = {**LABELS, "meteor": meteor_label()}
"""METEOR says whether it had its synonyms."""
Chosen = Mapping[str, tuple[float, Mapping[float, str]]]
"""Arm -> (chosen learning rate, validation score of every rate)."""


def write_study(
    name: str,
    description: str,
    folders: Mapping[str, Sequence[Path]],
    chosen: Chosen,
    overrides: Sequence[str],
    notes: Sequence[str],
    out: Path,
) -> None:
    """Scores the stored predictions of all arms and seeds, and writes `NAME.md` and `NAME.json`."""
    first = next(iter(folders.values()))
    settings = load_settings(first[0] / RESOLVED)
    cells: list[Cell] = []
    contrasts: list[Contrast] = []
    samples = settings.evaluate.bootstrap_samples
    leader = next(iter(folders))
    for split in settings.evaluate.splits:
        base = [_items(folder, "base", split, settings) for folder in first]
        arms = {arm: [_items(folder, "tuned", split, settings) for folder in paths] for arm, paths in folders.items()}
        cells += study_cells(split, base, arms, samples)
        contrasts += study_contrasts(split, arms, leader, samples)
    base_reliance = [read_table(folder / "reliance" / "base.parquet", Reliance) for folder in first]
    arm_reliance = {
        arm: [read_table(folder / "reliance" / "tuned.parquet", Reliance) for folder in paths]
        for arm, paths in folders.items()
    }
    reliance = study_reliance(base_reliance, arm_reliance, samples)
    content = {
        "name": name,
        "cells": [cell.model_dump() for cell in cells],
        "contrasts": [item.model_dump() for item in contrasts],
        "reliance": [cell.model_dump() for cell in reliance],
        "learning_rates": {arm: {"chosen": rate, "validation": dict(shown)} for arm, (rate, shown) in chosen.items()},
        "settings": settings.model_dump(mode="json"),
    }
    write_text(out / f"{name}.json", json.dumps(content, indent=1))
    parts = [
        _head(name, description, settings, overrides, len(first)),
        *notes,
        _rates(chosen),
        *[_split_table(split, cells) for split in settings.evaluate.splits],
        _contrast_table(leader, settings.evaluate.splits[0], contrasts),
    ]
    if reliance:
        parts.append(_reliance_table(reliance, base_reliance_interval(base_reliance[0], samples)))
    write_text(out / f"{name}.md", "\n\n".join(parts) + "\n")


def _items(folder: Path, model: str, split: str, settings: RunSettings) -> list[ItemScore]:
    wanted = settings.evaluate.answer_types
    examples = [
        example
        for example in read_table(folder / "examples.parquet", Example)
        if example.split == split and example.answer_type in wanted
    ]
    known = {example.example_id for example in examples}
    predictions = [
        prediction
        for prediction in read_table(folder / "predictions" / f"{model}.parquet", Prediction)
        if prediction.example_id in known
    ]
    return score_predictions(examples, predictions, settings.evaluate.protocol)


def _head(name: str, description: str, settings: RunSettings, overrides: Sequence[str], seeds: int) -> str:
    given = "".join(f" --set {override}" for override in overrides)
    versions = ", ".join(f"{package} {version(package)}" for package in ("mmedpo", "torch", "transformers", "peft"))
    return (
        f"# {description.rstrip('.')}\n\n"
        f"Command: `mmedpo reproduce {name}{given}`. Versions: {versions}. {seeds} seeds; every arm has the same "
        f"training questions, the same learning-rate grid and the same number of passes ({settings.train.epochs:g}); "
        "rate and stopping are chosen on the validation split. Protocol "
        f"`{settings.evaluate.protocol}`. Differences are paired by question; 95 % intervals by a bootstrap over "
        f"images and seeds ({settings.evaluate.bootstrap_samples:,} resamples). Numbers are percent; bold: the "
        "interval excludes 0."
    )


def _rates(chosen: Chosen) -> str:
    rates = list(next(iter(chosen.values()))[1])
    lines = [
        "## Learning rates: best validation probe on the selection seed",
        "",
        f"| arm | {' | '.join(f'{rate:g}' for rate in rates)} | chosen |",
        f"|---|{'---|' * (len(rates) + 1)}",
    ]
    for arm, (rate, shown) in chosen.items():
        lines.append(f"| {arm} | {' | '.join(shown[r] for r in rates)} | {rate:g} |")
    return "\n".join(lines)


def _split_table(split: str, cells: Sequence[Cell]) -> str:
    here = [cell for cell in cells if cell.split == split]
    metrics = [metric for metric in METRICS if any(cell.metric == metric for cell in here)]
    by_key = {(cell.arm, cell.metric): cell for cell in here}
    sizes = ", ".join(
        f"{COLUMNS[m]}: {by_key['base', m].questions} questions on {by_key['base', m].images} images" for m in metrics
    )
    lines = [
        f"## Split `{split}`",
        "",
        f"{sizes}. Each cell: mean over seeds, difference to the base, interval.",
        "",
        f"| arm | {' | '.join(COLUMNS[metric] for metric in metrics)} |",
        f"|---|{'---|' * len(metrics)}",
    ]
    for arm in dict.fromkeys(cell.arm for cell in here):
        lines.append(f"| {arm} | {' | '.join(_show(by_key[arm, metric]) for metric in metrics)} |")
    return "\n".join(lines)


def _show(cell: Cell) -> str:
    text = f"{100 * cell.mean:.1f}"
    if cell.difference is None or cell.low is None or cell.high is None:
        return text
    change = f"{100 * cell.difference:+.1f} ({100 * cell.low:+.1f} to {100 * cell.high:+.1f})"
    return f"{text} **{change}**" if cell.low > 0 or cell.high < 0 else f"{text} {change}"


def _contrast_table(leader: str, split: str, contrasts: Sequence[Contrast]) -> str:
    here = [item for item in contrasts if item.split == split]
    metrics = [metric for metric in METRICS if any(item.metric == metric for item in here)]
    by_key = {(item.against, item.metric): item for item in here}
    lines = [
        f"## {leader} against the other arms, split `{split}`",
        "",
        f"| {leader} minus | {' | '.join(COLUMNS[metric] for metric in metrics)} |",
        f"|---|{'---|' * len(metrics)}",
    ]
    for other in dict.fromkeys(item.against for item in here):
        shown = []
        for metric in metrics:
            item = by_key[other, metric]
            text = f"{100 * item.difference:+.1f} ({100 * item.low:+.1f} to {100 * item.high:+.1f})"
            shown.append(f"**{text}**" if item.low > 0 or item.high < 0 else text)
        lines.append(f"| {other} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _reliance_table(cells: Sequence[RelianceCell], base: tuple[float, float, float]) -> str:
    lines = [
        "## Lesion reliance",
        "",
        "Fall of log pi(y_w), in nats summed over the answer, when the true lesion is noised, and when an equal area "
        "elsewhere is. The contrast is the first minus the second; the last column compares it with the base's "
        f"(base contrast {base[0]:.3f}, {base[1]:.3f} to {base[2]:.3f}).",
        "",
        "| arm | lesion noised | elsewhere noised | contrast | contrast minus base's |",
        "|---|---|---|---|---|",
    ]
    for cell in cells:
        change = ""
        if cell.difference is not None and cell.low is not None and cell.high is not None:
            change = f"{cell.difference:+.3f} ({cell.low:+.3f} to {cell.high:+.3f})"
            change = f"**{change}**" if cell.low > 0 or cell.high < 0 else change
        contrast = cell.lesion - cell.elsewhere
        lines.append(f"| {cell.arm} | {cell.lesion:.3f} | {cell.elsewhere:.3f} | {contrast:.3f} | {change} |")
    return "\n".join(lines)
