"""`mmedpo ground fit` and `mmedpo ground run`: the visual tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Fit the patch probe from a few boxes, or run the visual tool of a run.", no_args_is_help=True)


@app.command("fit")
def fit(
    annotations: Annotated[
        Path, typer.Argument(help="JSON list of {file, boxes: [{xyxy, label}], patient_id, rsna_class}.")
    ],
    images: Annotated[Path, typer.Argument(help="Folder the files are relative to.")],
    out: Annotated[Path, typer.Argument(help="JSON file for the coefficients; a card (.md) is written beside it.")],
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    folds: Annotated[int, typer.Option(help="Cross-validation folds, split by patient.")] = 5,
) -> None:
    """Fit a patch probe and measure it against the position prior.

    Example: mmedpo ground fit boxes.json images/ probe.json
    """
    from mmedpo.grounding.fit import card_markdown, fit_probe
    from mmedpo.storage.tables import write_text

    card = fit_probe(annotations, images, out, seed=seed, folds=folds)
    text = card_markdown(card)
    write_text(out.with_suffix(".md"), text)
    print(text)
    print(f"wrote {out} and {out.with_suffix('.md')}; use it with --set ground.probe={out}")


@app.command("run")
def run(folder: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Run the visual tool of an existing run on its training images.

    Example: mmedpo ground run runs/phantom-mmedpo
    """
    from mmedpo.pipeline.plan import run_stages
    from mmedpo.progress import LineReporter
    from mmedpo.run import open_run

    with open_run(folder, reporter=LineReporter()) as opened:
        run_stages(opened, only="ground")
