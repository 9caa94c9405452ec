"""The table that a run ends with."""

from __future__ import annotations

from mmedpo.records import Evaluation
from mmedpo.records.evaluation import LABELS
from mmedpo.run import Run


def print_summary(run: Run) -> None:
    """Prints base against tuned with intervals, and where the report lies; nothing before evaluation."""
    from rich.console import Console
    from rich.table import Table

    path = run.file("evaluation.json")
    if not path.exists():
        return
    evaluation = Evaluation.model_validate_json(path.read_text())
    table = Table(title=f"{run.path.name}: base against tuned, protocol {evaluation.protocol!r}", title_justify="left")
    for column in ("split", "metric", "questions", "base", "tuned", "difference", "95 % interval"):
        table.add_column(column, justify="left" if column in ("split", "metric") else "right")
    for item in evaluation.differences:
        table.add_row(
            item.split,
            LABELS[item.metric],
            str(item.questions),
            f"{100 * item.base:.1f}",
            f"{100 * item.tuned:.1f}",
            f"{100 * item.difference:+.1f}",
            f"{100 * item.low:+.1f} to {100 * item.high:+.1f}",
        )
    console = Console()
    console.print(table)
    contrast = {part.model: part for part in evaluation.reliance if part.region == "contrast"}
    if contrast:
        console.print(
            "lesion reliance (fall of log pi(y_w) with the lesion noised minus elsewhere noised): "
            f"base {contrast['base'].mean:.3f}, tuned {contrast['tuned'].mean:.3f} nats",
            highlight=False,
        )
    if run.file("report.html").exists():
        console.print(f"report: {run.file('report.html').resolve()}", highlight=False, soft_wrap=True)
