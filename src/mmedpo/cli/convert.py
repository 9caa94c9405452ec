"""`mmedpo convert`: a published checkpoint of the LLaVA code base, as `model.name` takes it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class TowerOption(StrEnum):
    """Where the vision tower comes from."""

    authors = "authors"
    shards = "shards"
    clip = "clip"


def convert(
    src: Annotated[Path, typer.Argument(help="Folder as downloaded: config.json, weights (.safetensors or .bin).")],
    dst: Annotated[Path, typer.Argument(help="Folder to be made.")],
    clip: Annotated[Path | None, typer.Option(help="Folder of the CLIP model that the config names.")] = None,
    tower: Annotated[
        TowerOption, typer.Option(help="Which vision tower: the one the authors' own loader takes, or a given one.")
    ] = TowerOption.authors,
    tokenizer: Annotated[Path | None, typer.Option(help="Folder of the tokenizer, where SRC has none.")] = None,
) -> None:
    """Convert LLaVA-Med v1.5, HuatuoGPT-Vision-7B or LLaVA-Med++ into a checkpoint that `model.name` takes.

    Weights are renamed, one file at a time; which of two vision towers was taken, and how far they differ, is said.

    Example: mmedpo convert llava-med-v1.5-mistral-7b/ llava-med/ --clip clip-vit-large-patch14-336/
    """
    from mmedpo.models.convert.conversion import convert as convert_checkpoint
    from mmedpo.progress import LineReporter
    from mmedpo.storage.paths import written

    reporter = LineReporter()
    with written(dst):
        done = convert_checkpoint(
            src,
            dst,
            clip=clip,
            tower=tower.value,
            tokenizer=tokenizer,
            advance=reporter.track("converting weight files"),
            message=reporter.message,
        )
    print(f"{done.title}: {done.weights} weights written to {dst}")
    for note in done.notes:
        print(f"  {note}")
    print(f"next: mmedpo doctor {dst}")
