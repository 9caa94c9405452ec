"""`mmedpo reproduce`: several methods, one learning-rate grid, one budget, several seeds, one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    table: Annotated[str, typer.Argument(help="Shipped table (table1 to table4, figure3, agents ...) or a YAML file.")],
    dataset: Annotated[str, typer.Option(help="Dataset whose recipe the methods are laid over.")] = "phantom",
    quick: Annotated[
        bool, typer.Option("--quick", help="One seed, one rate, little data: minutes, no result.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for NAME.md and NAME.json.")] = Path("docs/results"),
    runs: Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")] = Path("runs"),
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; each gets its share of the cores. [2]")] = None,
    gpus: Annotated[str, typer.Option(help="A GPU for each run at a time, by number: 0,1,2,3.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Tell runs, calls, memory and hours; run nothing.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override for every arm (repeatable).")] = None,
) -> None:
    """Run every arm of a table over its seeds and write the table; goes on where it stopped.

    The learning rate of each arm is the one whose kept adapter scores best on validation with the selection seed; a
    rate at which training collapses is out. Every arm has the same grid and the same budget.

    Example: mmedpo reproduce table1 --quick

    Example: mmedpo reproduce table2 --dataset vqa-rad --set data.root=~/VQA_RAD --plan
    """
    from mmedpo.pipeline.grid import at_a_time, run_table
    from mmedpo.pipeline.tables import study
    from mmedpo.progress import LineReporter

    wanted = study(table, dataset, quick, settings or [])
    places, seen = at_a_time(jobs, gpus)
    if plan:
        from mmedpo.pipeline.table_plan import plan_table

        print("\n".join(plan_table(wanted, places, LineReporter())))
        return
    print(f"wrote {run_table(wanted, runs, out, places, LineReporter(), seen)}")
