"""Writes docs/results/vqa-rad.md from finished runs on VQA-RAD.

Run, with ROOT the dataset's folder as downloaded and PREFS the preference file released with MMedPO:

    mmedpo run vqa-rad --set data.root=ROOT
    mmedpo run vqa-rad-released --set data.root=ROOT --set preferences.path=PREFS
    python bench/vqa_rad_results.py runs/vqa-rad runs/vqa-rad-released docs/results/vqa-rad.md
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from mmedpo import read_run
from mmedpo.progress import duration
from mmedpo.records import Evaluation, PreferencePair
from mmedpo.run import Run
from mmedpo.storage.tables import write_text

METRICS = {"closed_accuracy": "closed accuracy", "open_recall": "open recall"}


def main(folders: list[Path], out: Path) -> None:
    """One section per run."""
    command = (__doc__ or "").split("PREFS the preference file released with MMedPO:")[1].strip("\n")
    parts = ["# VQA-RAD with the tiny model", f"Commands:\n\n{command}"]
    parts += [_section(read_run(folder)) for folder in folders]
    write_text(out, "\n\n".join(parts) + "\n")


def _section(run: Run) -> str:
    evaluation = Evaluation.model_validate_json(run.file("evaluation.json").read_text())
    kinds = Counter(pair.kind for pair in run.read("pairs.parquet", PreferencePair))
    drops = Counter(f"{drop.stage}: {drop.reason}" for drop in run.drops())
    seconds = sum(state.seconds for state in run.manifest.stages.values())
    versions = ", ".join(f"{name} {number}" for name, number in run.manifest.versions.items())
    lines = [
        f"## {run.path.name}",
        "",
        run.settings.description,
        "",
        f"Pairs: {', '.join(f'{count} {kind}' for kind, count in kinds.items())}. Left out: "
        f"{', '.join(f'{count} {reason}' for reason, count in drops.items()) or 'nothing'}. Seed {run.settings.seed}. "
        f"Wall time of all stages {duration(seconds)} on 2 cores. Versions: {versions}.",
        "",
        f"| split | protocol | metric | questions | base | tuned | difference | {evaluation.level:.0%} interval |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for item in evaluation.differences:
        interval = f"{100 * item.low:+.1f} to {100 * item.high:+.1f}"
        lines.append(
            f"| {item.split} | {evaluation.protocol} | {METRICS[item.metric]} | {item.questions} "
            f"| {100 * item.before:.1f} | {100 * item.after:.1f} | {100 * item.difference:+.1f} | {interval} |"
        )
    for split in evaluation.splits:
        majority = split.summaries["base"].metrics["closed_majority_baseline"]
        lines.append(
            f"| {split.split} | {evaluation.protocol} | closed accuracy of the most frequent answer | {majority.n} "
            f"| {100 * majority.mean:.1f} | | | |"
        )
        for protocol, models in split.other_protocols.items():
            for metric, label in METRICS.items():
                both = [models[model].metrics.get(metric) for model in ("base", "tuned")]
                shown = " | ".join("" if value is None else f"{100 * value.mean:.1f}" for value in both)
                count = next((value.n for value in both if value is not None), 0)
                lines.append(f"| {split.split} | {protocol} | {label} | {count} | {shown} | | |")
    caveats = "\n".join(f"- {caveat}" for caveat in run.settings.caveats)
    return "\n".join(lines) + f"\n\nWhat this can and cannot show:\n\n{caveats}"


if __name__ == "__main__":
    *runs, target = sys.argv[1:]
    main([Path(run) for run in runs], Path(target))
