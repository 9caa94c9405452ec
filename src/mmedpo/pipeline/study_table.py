"""From the run folders of a study to its written table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from mmedpo.config import RunSettings, stored_settings
from mmedpo.evaluate.metrics import meteor_label
from mmedpo.evaluate.probes import Probe, probes_of
from mmedpo.evaluate.statistics import Interval
from mmedpo.evaluate.study import (
    SeedRows,
    headline_interval,
    study_cells,
    study_contrasts,
    study_probe,
    study_probe_contrasts,
)
from mmedpo.pipeline.panels import panel, panel_section
from mmedpo.pipeline.paper_numbers import paper_section
from mmedpo.pipeline.tables import Table
from mmedpo.records import Cell, Contrast, ItemScore, ProbeCell
from mmedpo.records.evaluation import LABELS, METRICS
from mmedpo.records.looks import LogEntry
from mmedpo.run import BASE, TUNED
from mmedpo.run.layout import LOG, RESOLVED, SCORES, measured_by
from mmedpo.run.manifest import read_manifest
from mmedpo.run.slots import in_round
from mmedpo.storage.json_file import read_json
from mmedpo.storage.tables import read_table, write_text

COLUMNS = {**LABELS, "meteor": meteor_label()}
"""METEOR says whether it had its synonyms."""
ALPHA = 0.05
"""Adjusted p-values up to this get a star; the intervals cover 95 %."""
TRAINS = ("finetune", "train")
"""Stages that train."""
Chosen = Mapping[str, tuple[float, Mapping[float, str]]]
"""Arm -> (chosen learning rate, validation score of every rate)."""


def write_study(
    name: str,
    plan: Table,
    command: str,
    folders: Mapping[str, Sequence[Path]],
    chosen: Chosen,
    notes: Sequence[str],
    out: Path,
    panels: Mapping[str, Sequence[Path]] = {},
) -> None:
    """Compares the stored scores and probes of all arms and seeds, and writes `NAME.md` and `NAME.json`.

    `panels`: run folders of panels of agents, compared by their scores alone.
    """
    first = next(iter(folders.values()))
    settings = stored_settings(first[0] / RESOLVED)
    leaders = [arm for arm in plan.leaders if arm in folders] or list(folders)[:1]
    cells, contrasts = _answers(settings, folders, leaders)
    costs = [_cost(arm, paths) for arm, paths in folders.items()]
    parts = [
        _head(plan.description, command, settings, len(first)),
        *notes,
        _rates(chosen),
        _cost_table(costs),
        *[_split_table(split, cells) for split in settings.evaluate.splits],
        *[_contrast_table(arm, split, contrasts) for arm in leaders for split in settings.evaluate.splits],
        *paper_section(settings, folders, plan.paper),
        *_seed_table(settings.evaluate.splits[0], cells),
    ]
    probes, of_probes = _probes(settings, folders, leaders)
    samples = settings.evaluate.bootstrap_samples
    for probe_name, found in probes.items():
        probe = probes_of(settings.evaluate)[probe_name]
        base = headline_interval(probe, _rows(first, probe_name, probe, BASE)[0], samples)
        parts.append(_probe_table(probe, found, base, leaders, of_probes[probe_name]))
    debated = [panel(title, paths, samples) for title, paths in panels.items()]
    parts += [panel_section(debated)] if debated else []
    content = {
        "name": name,
        "panels": [one.model_dump() for one in debated],
        "cells": [cell.model_dump() for cell in cells],
        "contrasts": [item.model_dump() for item in contrasts],
        "probes": {probe_name: [cell.model_dump() for cell in found] for probe_name, found in probes.items()},
        "probe_contrasts": {each: [item.model_dump() for item in found] for each, found in of_probes.items()},
        "cost": [cost._asdict() for cost in costs],
        "learning_rates": {arm: {"chosen": rate, "validation": dict(shown)} for arm, (rate, shown) in chosen.items()},
        "settings": settings.model_dump(mode="json"),
    }
    write_text(out / f"{name}.json", json.dumps(content, indent=1))
    write_text(out / f"{name}.md", "\n\n".join(parts) + "\n")


def _answers(
    settings: RunSettings, folders: Mapping[str, Sequence[Path]], leaders: Sequence[str]
) -> tuple[list[Cell], list[Contrast]]:
    """Of every split: each arm against the base, and each leader against the other arms."""
    samples = settings.evaluate.bootstrap_samples
    scores = {folder: _scores(folder, settings.evaluate.protocol) for paths in folders.values() for folder in paths}
    cells: list[Cell] = []
    contrasts: list[Contrast] = []
    for split in settings.evaluate.splits:
        base = [_of(scores[folder], BASE, split) for folder in next(iter(folders.values()))]
        arms = {arm: [_of(scores[folder], TUNED, split) for folder in paths] for arm, paths in folders.items()}
        cells += study_cells(split, base, arms, samples)
        for leader in leaders:
            contrasts += study_contrasts(split, arms, leader, samples)
    return cells, contrasts


def _probes(
    settings: RunSettings, folders: Mapping[str, Sequence[Path]], leaders: Sequence[str]
) -> tuple[dict[str, list[ProbeCell]], dict[str, list[Contrast]]]:
    """Of every probe that measured: its cells, and each leader against the other arms."""
    samples = settings.evaluate.bootstrap_samples
    cells: dict[str, list[ProbeCell]] = {}
    contrasts: dict[str, list[Contrast]] = {}
    for name, probe in probes_of(settings.evaluate).items():
        tuned = {arm: _rows(paths, name, probe, TUNED) for arm, paths in folders.items()}
        found = study_probe(probe, _rows(next(iter(folders.values())), name, probe, BASE), tuned, samples)
        if found:
            cells[name] = found
            against = [study_probe_contrasts(probe, tuned, leader, samples) for leader in leaders]
            contrasts[name] = [contrast for found in against for contrast in found]
    return cells, contrasts


def _scores(folder: Path, protocol: str) -> list[ItemScore]:
    return [item for item in read_table(folder / SCORES, ItemScore) if item.protocol == protocol]


def _of(items: Sequence[ItemScore], model: str, split: str) -> list[ItemScore]:
    return [item for item in items if (item.model, item.split) == (model, split)]


def _rows(folders: Sequence[Path], name: str, probe: Probe[Any], model: str) -> SeedRows:
    return [read_table(folder / measured_by(name, model), probe.record) for folder in folders]


def _head(description: str, command: str, settings: RunSettings, seeds: int) -> str:
    versions = ", ".join(f"{package} {version(package)}" for package in ("mmedpo", "torch", "transformers", "peft"))
    best = settings.train.watch.keep == "best"
    kept = "rate and stopping are" if best else "the last adapter is kept, the rate is"
    return (
        f"# {description.rstrip('.')}\n\n"
        f"Command: `{command}`. Versions: {versions}. {seeds} seeds; every arm has the same "
        f"training questions and the same learning-rate grid; "
        f"{kept} chosen on the validation split. Protocol "
        f"`{settings.evaluate.protocol}`. Differences are paired by question; 95 % intervals by a bootstrap over "
        f"images and seeds ({settings.evaluate.bootstrap_samples:,} resamples). Numbers are percent; bold: the "
        "interval excludes 0; with a star it also does after Holm's correction for all comparisons of its table, "
        "a probe's by column (adjusted p <= 0.05)."
    )


def _rates(chosen: Chosen) -> str:
    rates = list(next(iter(chosen.values()))[1])
    lines = [
        "## Learning rates: validation probe of the kept adapter, selection seed",
        "",
        f"| arm | {' | '.join(f'{rate:g}' for rate in rates)} | chosen |",
        f"|---|{'---|' * (len(rates) + 1)}",
    ]
    for arm, (rate, shown) in chosen.items():
        lines.append(f"| {arm} | {' | '.join(shown[r] for r in rates)} | {rate:g} |")
    edge = [arm for arm, (rate, _) in chosen.items() if len(rates) > 1 and rate in (min(rates), max(rates))]
    if edge:
        lines += ["", f"At the edge of the grid, beyond which a better rate may lie: {', '.join(edge)}."]
    return "\n".join(lines)


class Cost(NamedTuple):
    """What training of one arm took, mean over its seeds."""

    arm: str
    passes: float
    steps: float
    """Of preference training."""
    seconds: float
    before: int
    """Passes of the fine-tuning before."""


def _cost(arm: str, folders: Sequence[Path]) -> Cost:
    """Of every round, and of the fine-tuning before them where a recipe has one."""
    settings = stored_settings(folders[0] / RESOLVED)
    passes = sum(own.train.epochs for own in settings.every_round)
    steps = [_steps(folder, settings) for folder in folders]
    stages = [read_manifest(folder).stages for folder in folders]
    seconds = [sum(done.seconds for name, done in of.items() if name.rpartition("/")[2] in TRAINS) for of in stages]
    return Cost(arm, passes, fmean(steps), fmean(seconds), settings.finetune.epochs if settings.finetune else 0)


def _steps(folder: Path, settings: RunSettings) -> float:
    logs = [read_json(folder / in_round(settings, LOG, n), list[LogEntry]) for n in range(1, settings.rounds + 1)]
    return math.fsum(max(entry["step"] or 0 for entry in log) for log in logs)


def _passes(cost: Cost) -> str:
    return f"{cost.before} + {cost.passes:g}" if cost.before else f"{cost.passes:g}"


def _cost_table(costs: Sequence[Cost]) -> str:
    lines = [
        "## What training took",
        "",
        "Passes over the training questions and optimizer steps, of all rounds; seconds of training by the clock, with "
        "that of the fine-tuning before where there is one; mean over seeds, and runs side by side slow each other "
        "down.",
        "",
        "| arm | passes | steps | seconds |",
        "|---|---|---|---|",
        *[f"| {cost.arm} | {_passes(cost)} | {cost.steps:.0f} | {cost.seconds:.0f} |" for cost in costs],
    ]
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
    return f"{text} {_change(cell.difference, cell.low, cell.high, cell.p_adjusted)}"


def _change(difference: float, low: float, high: float, p_adjusted: float | None, scale: float = 100.0) -> str:
    """A difference with its interval: bold where that excludes 0, with a star where the adjusted p-value agrees."""
    decimals = 1 if scale == 100.0 else 3
    text = f"{scale * difference:+.{decimals}f} ({scale * low:+.{decimals}f} to {scale * high:+.{decimals}f})"
    if not (low > 0 or high < 0):
        return text
    return f"**{text}**\\*" if p_adjusted is not None and p_adjusted <= ALPHA else f"**{text}**"


def _contrast_table(leader: str, split: str, contrasts: Sequence[Contrast]) -> str:
    here = [item for item in contrasts if (item.arm, item.split) == (leader, split)]
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
            shown.append(_change(item.difference, item.low, item.high, item.p_adjusted))
        lines.append(f"| {other} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _seed_table(split: str, cells: Sequence[Cell]) -> list[str]:
    """Nothing with one seed."""
    here = [cell for cell in cells if cell.split == split and cell.seed_sd is not None]
    if not here:
        return []
    metrics = [metric for metric in METRICS if any(cell.metric == metric for cell in here)]
    by_key = {(cell.arm, cell.metric): cell for cell in here}
    lines = [
        f"## Seeds as a random effect, split `{split}`",
        "",
        "Difference to the base: 95 % interval with seeds and images as crossed random effects, and in brackets the "
        "standard deviation between seeds beyond chance.",
        "",
        f"| arm | {' | '.join(COLUMNS[metric] for metric in metrics)} |",
        f"|---|{'---|' * len(metrics)}",
    ]
    for arm in dict.fromkeys(cell.arm for cell in here):
        shown = (_seeded(by_key[arm, metric]) for metric in metrics)
        lines.append(f"| {arm} | {' | '.join(shown)} |")
    return ["\n".join(lines)]


def _seeded(cell: Cell) -> str:
    if cell.seed_low is None or cell.seed_high is None or cell.seed_sd is None:
        return ""
    return f"{100 * cell.seed_low:+.1f} to {100 * cell.seed_high:+.1f} ({100 * cell.seed_sd:.1f})"


def _probe_table(
    probe: Probe[Any], cells: Sequence[ProbeCell], base: Interval, leaders: Sequence[str], contrasts: Sequence[Contrast]
) -> str:
    against = {
        (item.arm, item.against): _change(item.difference, item.low, item.high, item.p_adjusted, scale=1.0)
        for item in contrasts
    }
    headline, minus = probe.quantities[probe.headline], " | ".join(f"{leader} minus it" for leader in leaders)
    lines = [
        f"## {probe.title}",
        "",
        f"{headline.capitalize()}: {probe.about}, in {probe.unit}; the last columns compare it with the base's (base "
        f"{base.estimate:.3f}, {base.low:.3f} to {base.high:.3f}) and with that of {', '.join(leaders)}.",
        "",
        f"| arm | {' | '.join(probe.quantities.values())} | {headline} minus base's | {minus} |",
        f"|---|{'---|' * (len(probe.quantities) + 1 + len(leaders))}",
    ]
    for cell in cells:
        change = ""
        if cell.difference is not None and cell.low is not None and cell.high is not None:
            change = _change(cell.difference, cell.low, cell.high, cell.p_adjusted, scale=1.0)
        compared = " | ".join(against.get((leader, cell.arm), "") for leader in leaders)
        means = " | ".join(f"{cell.means[quantity]:.3f}" for quantity in probe.quantities)
        lines.append(f"| {cell.arm} | {means} | {change} | {compared} |")
    return "\n".join(lines)
