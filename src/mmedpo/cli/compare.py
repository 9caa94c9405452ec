"""`mmedpo compare`: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    folders: Annotated[
        list[Path], typer.Argument(help="Evaluated run folders; the others are compared with the first.")
    ],
    out: Annotated[Path, typer.Option(help="Page to write, self-contained.")] = Path("comparison.html"),
) -> None:
    """Compare runs on the questions they share: settings that differ, paired intervals, changed cases, costs.

    Example: mmedpo compare runs/phantom-mmedpo runs/phantom-dpo runs/phantom-sft
    """
    from mmedpo import terminal
    from mmedpo.pipeline.comparing import compare_runs
    from mmedpo.report import render
    from mmedpo.report.summary import comparison_lines
    from mmedpo.storage.paths import check_output, written
    from mmedpo.storage.tables import write_text

    check_output(out, [])
    found = compare_runs(folders)
    with written(out):
        write_text(out, render(found.content))
    lines = [*comparison_lines(found.evaluation), "", f"wrote {out}"]
    terminal.console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
