"""`mmedpo pretrain-tiny`: trains the checkpoint that ships in the package, from scratch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def pretrain_tiny(
    out: Annotated[Path, typer.Argument(help="Folder the checkpoint is written to.")],
    dense_images: Annotated[int, typer.Option(help="Images with patch labels, for the vision tower.")] = 6000,
    vision_epochs: Annotated[int, typer.Option(help="Passes of step 1.")] = 12,
    balanced_images: Annotated[int, typer.Option(help="Balanced images with questions.")] = 2000,
    balanced_epochs: Annotated[int, typer.Option(help="Passes of step 2.")] = 5,
    prior_images: Annotated[int, typer.Option(help="Images with language priors, with questions.")] = 1000,
    prior_epochs: Annotated[int, typer.Option(help="Passes of step 3.")] = 3,
    mismatched: Annotated[
        float, typer.Option(help="Share of the images of step 3 that are swapped for others: text that ignores them.")
    ] = 0.6,
    prior_rate: Annotated[float, typer.Option(help="Peak learning rate of step 3.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and cases.")] = 0,
    after_step_2: Annotated[Path | None, typer.Option(help="Checkpoint of step 2 to go on from.")] = None,
) -> None:
    """Train the tiny Med-LVLM from scratch on phantoms (about 15 minutes on 2 cores).

    The checkpoint of step 2 is kept in OUT/step-2.

    Example: mmedpo pretrain-tiny build/tiny
    """
    from mmedpo.pipeline.tiny_model import Schedule, train_tiny
    from mmedpo.progress import LineReporter

    schedule = Schedule(
        dense_images=dense_images,
        vision_epochs=vision_epochs,
        balanced_images=balanced_images,
        balanced_epochs=balanced_epochs,
        prior_images=prior_images,
        prior_epochs=prior_epochs,
        mismatched=mismatched,
        prior_rate=prior_rate,
    )
    train_tiny(out, schedule, seed, after_step_2, LineReporter())
