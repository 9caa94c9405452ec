"""`mmedpo ground`: fit a visual tool, measure tools on boxes, store text queries, or run the tool of a run."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Visual tools: fit one, measure several on boxes, or run a run's.", no_args_is_help=True)

Boxes = "JSON list of {file, boxes: [{xyxy, label}], patient_id, view, rsna_class}, CSV, or COCO (docs/tools.md)."


class Fittable(StrEnum):
    """Tools that are fitted on boxes."""

    patch = "patch-probe"
    chest = "chest-probe"


@app.command("fit")
def fit(
    annotations: Annotated[Path, typer.Argument(help=Boxes)],
    images: Annotated[Path, typer.Argument(help="Folder the files are relative to.")],
    out: Annotated[Path, typer.Argument(help="JSON file for the coefficients; a card (.md) is written beside it.")],
    tool: Annotated[
        Fittable, typer.Option(help="patch-probe: any images. chest-probe: PA and AP films, needs their view.")
    ] = Fittable.patch,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    folds: Annotated[int, typer.Option(help="Cross-validation folds, split by patient.")] = 5,
) -> None:
    """Fit a probe and measure it against the position prior.

    Example: mmedpo ground fit boxes.json films/ probe.json --tool chest-probe
    """
    from mmedpo.storage.tables import write_text

    if tool is Fittable.patch:
        from mmedpo.grounding.fit import card_markdown, fit_probe

        text = card_markdown(fit_probe(annotations, images, out, seed=seed, folds=folds))
    else:
        from mmedpo.grounding.chest import card
        from mmedpo.grounding.chest.storage import save

        fitted = card.fit_chest_probe(annotations, images, name=out.stem, seed=seed, folds=folds)
        save(fitted.coefficients, out)
        text = card.card_markdown(fitted, source="", seed=seed, folds=folds)
    write_text(out.with_suffix(".md"), text)
    print(text)
    option = f"--set ground.tool={tool.value} --set ground.options.{tool.value}.probe={out}"
    print(f"wrote {out} and {out.with_suffix('.md')}; use it with {option}")


@app.command("evaluate")
def evaluate(
    tools: Annotated[list[str], typer.Argument(help="Names of visual tools, e.g. chest-probe medklip.")],
    boxes: Annotated[Path, typer.Option(help=Boxes)],
    images: Annotated[Path | None, typer.Option(help="Folder the files are relative to; the boxes' folder.")] = None,
    out: Annotated[
        Path, typer.Option(help="Page to write, self-contained; a .json with every number beside it.")
    ] = Path("ground-evaluation.html"),
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="e.g. ground.options.medklip.checkpoint=FILE")
    ] = None,
    pictures: Annotated[int, typer.Option(help="Images drawn on the page, chosen by the seed.", min=0)] = 12,
    seed: Annotated[int, typer.Option(help="Seed of intervals and pictures.", min=0)] = 0,
) -> None:
    """Measure visual tools on annotated images: against each other, a position prior and a centre prior.

    Example: mmedpo ground evaluate chest-probe --boxes boxes.json --set ground.assume.organ=chest
    """
    from mmedpo.config import load_ground
    from mmedpo.grounding.evaluation import evaluate_tools
    from mmedpo.grounding.library import open_tools
    from mmedpo.grounding.page import write_page
    from mmedpo.grounding.tables import counts, tables, without_map
    from mmedpo.progress import LineReporter

    told = load_ground(tools, settings or [])
    opened, root = open_tools(told), images or boxes.parent
    advance = LineReporter().track("measuring")
    found = evaluate_tools(opened, boxes, root, told.assume, seed=seed, advance=advance)
    write_page(found, opened, boxes, root, out, pictures=pictures, seed=seed)
    print(tables(found.lines))
    print("".join(f"\n{line}" for line in without_map(found.cases, tools)))
    print(f"\n{counts(found.cases)}\nwrote {out} and {out.with_suffix('.json')}")


@app.command("queries")
def queries(
    descriptions: Annotated[Path, typer.Argument(help="JSON object {entity: description}, in MedKLIP's order.")],
    encoder: Annotated[Path, typer.Argument(help="Folder of Bio_ClinicalBERT.")],
    out: Annotated[Path, typer.Argument(help="File to write (.npz).")],
) -> None:
    """Embed MedKLIP's text queries once; the tool then needs no language model.

    Example: mmedpo ground queries observations.json Bio_ClinicalBERT/ queries.npz
    """
    from mmedpo.grounding.networks.queries import embed

    done = embed(descriptions, encoder, out)
    print(f"wrote {out}: {len(done.names)} entities; use it with --set ground.options.medklip.queries={out}")


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
