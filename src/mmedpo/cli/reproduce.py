"""`mmedpo reproduce`: several methods, one learning-rate grid, one budget, several seeds, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    table: Annotated[str, typer.Argument(help="Shipped table (phantom) or a .yaml file.")],
    out: Annotated[Path, typer.Option(help="Folder for NAME.md and NAME.json.")] = Path("docs/results"),
    runs: Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")] = Path("runs"),
    jobs: Annotated[int, typer.Option(help="Runs at a time; each gets its share of the cores.")] = 2,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override for every arm (repeatable).")] = None,
) -> None:
    """Run every arm of a table over its seeds and write the table; goes on where it stopped.

    The learning rate of each arm is the one with the best validation probe on the selection seed; a
    rate at which training collapses is out. Every arm has the same grid and the same budget.

    Example: mmedpo reproduce phantom
    """
    from mmedpo.pipeline.grid import load_table, run_table
    from mmedpo.progress import LineReporter

    written = run_table(Path(table).stem, load_table(table), runs, out, max(jobs, 1), settings or [], LineReporter())
    print(f"wrote {written}")
