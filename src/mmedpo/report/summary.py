"""The table that a run ends with, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import wrap

from mmedpo import terminal
from mmedpo.errors import listed
from mmedpo.records import Difference, Evaluation, ProbeSummary
from mmedpo.records.evaluation import LABELS
from mmedpo.run import Run
from mmedpo.storage.json_file import read_json

GAP = "  "
WIDTH = 80
"""Columns of a terminal that everything fits."""
LONGEST_LABEL = max(map(len, LABELS.values()))


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
        lines += ["", *_wrapped(f"{split}: {against} against {model}, %"), *_table(list(items), model, against)]
    return [*lines, *_judged(evaluation), *_after(evaluation)]


def comparison_lines(evaluation: Evaluation) -> list[str]:
    """A table for every split and metric, a row for every model; names longer than their column stand above theirs."""
    first, lines = evaluation.models[0], [f"protocol {evaluation.protocol!r}, %, differences to", evaluation.models[0]]
    compared = {(item.split, item.metric, item.model): item for item in evaluation.differences}
    for scores in evaluation.splits:
        for metric, label in LABELS.items():
            rows: list[tuple[str, ...]] = [("model", "n", "mean", "diff.", "95 % interval", "p")]
            for model in evaluation.models:
                mean = scores.summaries[model].metrics.get(metric)
                change = compared.get((scores.split, metric, model))
                if mean is not None:
                    told = _change(change) if change else ("", "" if model == first else "none", "")
                    rows.append((model, str(mean.n), f"{100 * mean.mean:.1f}", *told))
            if len(rows) > 1:
                lines += ["", f"{scores.split}: {label}", *_aligned(rows)]
    return [*lines, *_judged(evaluation), *_after(evaluation)]


def _judged(evaluation: Evaluation) -> list[str]:
    """A table for every judge of answers and pair of models."""
    lines = []
    for one in evaluation.judged:
        unscored = sum(one.unscored.values())
        left_out = f", {unscored} of {one.questions} unscored" if unscored else ""
        lines += ["", *_wrapped(f"{one.split}: {one.against} against {one.model} by {one.judge}, of 100{left_out}")]
        lines += _table(one.differences, one.model, one.against) if one.differences else ["  not computed"]
    return lines


def _after(evaluation: Evaluation) -> list[str]:
    """What stands below the tables: how to read p, and the probes."""
    lines = ["", "p: two-sided, adjusted by Holm's method for all comparisons of this table"]
    lines = lines if evaluation.differences else []
    for metric in evaluation.external:
        means = ", ".join(f"{model} {100 * mean:.1f}" for model, mean in metric.means.items())
        lines += ["", *_wrapped(f"{metric.metric}: {means or f'not computed: {listed(metric.reasons)}'}")]
    for summary in evaluation.probes:
        lines += ["", *_probe(summary, evaluation.models)]
    if evaluation.looks is not None and evaluation.looks.means:
        told = [f"{mean.model} {100 * mean.mean:.0f}" for mean in evaluation.looks.means if not mean.against]
        lines += ["", f"Score of looking: {', '.join(told)} of 100"]
    return lines


def _change(item: Difference) -> tuple[str, str, str]:
    """Difference, interval and adjusted p-value as they are printed."""
    bounds = f"{100 * item.low:+.1f} to {100 * item.high:+.1f}"
    return f"{100 * item.difference:+.1f}", bounds, "<0.001" if item.p_adjusted < 0.001 else f"{item.p_adjusted:.3f}"


def _table(items: Sequence[Difference], model: str, against: str) -> list[str]:
    heads = ("metric", "n", against, model, "diff.", "95 % interval", "p")
    rows: list[tuple[str, ...]] = []
    for item in items:
        values = (f"{100 * value:.1f}" for value in (item.before, item.after))
        rows.append((LABELS.get(item.metric, item.metric), str(item.questions), *values, *_change(item)))
    lines = _aligned([heads, *rows])
    if max(map(len, lines)) > WIDTH:  # the line above names both models
        return _aligned([("metric", "n", "before", "after", *heads[4:]), *rows])
    return lines


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns with two blanks between them; a first cell that would make a row too long has a line of its own."""
    others = [max(len(row[column]) for row in rows) for column in range(1, len(rows[0]))]
    room = WIDTH - sum(others) - len(GAP) * len(others)
    longest = max([len(row[0]) for row in rows if len(row[0]) <= max(room, LONGEST_LABEL)], default=0)
    lines = []
    for head, *cells in rows:
        kept = head if len(head) <= longest else ""
        lines += [] if kept == head else [head]
        told = (text.rjust(width) for text, width in zip(cells, others, strict=True))
        lines.append(GAP.join([kept.ljust(longest), *told]).rstrip())
    return lines


def _probe(summary: ProbeSummary, models: Sequence[str]) -> list[str]:
    parts = [summary.part(summary.headline, model) for model in models]
    means = ", ".join(f"{part.model} {part.mean:.3f}" for part in parts if part is not None)
    return [*_wrapped(f"{summary.title}: {means} {summary.unit}"), *_wrapped(f"  {summary.about}")]


def _wrapped(line: str) -> list[str]:
    """The line, broken between words where it is too long; names stay whole."""
    return wrap(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
