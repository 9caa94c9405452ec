"""`mmedpo demo`: the whole loop on the embedded default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RECIPE = "phantom-mmedpo"
SETTINGS = ("model.device=cpu", "executor.name=processes")
"""The model is too small to fill a GPU, or more than one core."""


def demo(
    runs: Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")] = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
) -> None:
    """Run dataset, curation, scoring, training, evaluation and report on generated radiographs.

    Example: mmedpo demo
    """
    from mmedpo.config import load_settings
    from mmedpo.pipeline.staging import run_to_report
    from mmedpo.progress import LineReporter

    folder = runs / ("demo" if seed == 0 else f"demo-{seed}")
    run_to_report(load_settings(RECIPE, [*SETTINGS, f"seed={seed}"]), folder, LineReporter())
