"""The table that a run ends with, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from mmedpo import terminal
from mmedpo.records import Difference, Evaluation, ProbeSummary
from mmedpo.records.evaluation import LABELS
from mmedpo.run import Run
from mmedpo.storage.json_file import read_json

GAP = "  "


def print_summary(run: Run) -> None:
    """Prints the compared models with intervals, and where the report lies; nothing before evaluation.

    Raises:
        RunFolderError: the evaluation is damaged.
    """
    path = run.file("evaluation.json")
    if not path.exists():
        return
    evaluation = read_json(path, Evaluation)
    lines = [f"{run.path.name}, protocol {evaluation.protocol!r}", *summary_lines(evaluation)]
    if run.file("report.html").exists():
        lines += ["", f"report: {run.file('report.html').resolve()}"]
    # Plain text: a name is no markup, and a path is not broken.
    terminal.console().print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def summary_lines(evaluation: Evaluation) -> list[str]:
    """A table for every split and pair of models, and a line for every probe."""
    lines = []
    for (split, model, against), items in groupby(evaluation.differences, lambda d: (d.split, d.model, d.against)):
        lines += ["", f"{split}: {against} against {model}, %", *_table(list(items), model, against)]
    if evaluation.differences:
        lines += ["", "p: two-sided, adjusted by Holm's method for all comparisons of this table"]
    for summary in evaluation.probes:
        lines += ["", *_probe(summary, evaluation.models)]
    if evaluation.looks is not None and evaluation.looks.means:
        told = [f"{mean.model} {100 * mean.mean:.0f}" for mean in evaluation.looks.means if not mean.against]
        lines += ["", f"Score of looking: {', '.join(told)} of 100"]
    return lines


def _table(items: Sequence[Difference], model: str, against: str) -> list[str]:
    rows: list[tuple[str, ...]] = [("metric", "n", against, model, "diff.", "95 % interval", "p")]
    for item in items:
        values = (f"{100 * value:.1f}" for value in (item.before, item.after))
        bounds = f"{100 * item.low:+.1f} to {100 * item.high:+.1f}"
        p_value = "<0.001" if item.p_adjusted < 0.001 else f"{item.p_adjusted:.3f}"
        change = f"{100 * item.difference:+.1f}"
        rows.append((LABELS[item.metric], str(item.questions), *values, change, bounds, p_value))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        GAP.join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _probe(summary: ProbeSummary, models: Sequence[str]) -> list[str]:
    parts = [summary.part(summary.headline, model) for model in models]
    means = ", ".join(f"{part.model} {part.mean:.3f}" for part in parts if part is not None)
    return [f"{summary.title}: {means} {summary.unit}", f"  {summary.about}"]
