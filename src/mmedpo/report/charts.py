"""Which figure a section of the report gets: from content to the arguments of `figures`."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mmedpo.report import figures
from mmedpo.report.content import (
    Comparison,
    CurvePanel,
    Reliance,
    Results,
    ScoreSource,
    Training,
)
from mmedpo.report.formatting import in_unit, interval, level, measured, number

WIDE, NARROW = 780.0, 340.0
"""Figure widths in CSS pixels: on a desktop, and on a phone of 390 px."""


def comparison_row(item: Comparison, results: Results, *, label: str, group: str = "") -> figures.ForestRow:
    """One comparison as a forest row in printed units."""
    metric = results.metric(item.metric)
    value, low, high = (in_unit(x, metric) for x in (item.difference.value, item.difference.low, item.difference.high))
    text = measured(item.difference.value, metric, sign=True)
    bounds = interval(item.difference, metric, sign=True)
    if item.difference.value is not None:
        text += f" ({bounds})" if bounds else " (no interval)"
    return figures.ForestRow(label, value, low, high, text=text, group=group)


def difference_plots(results: Results) -> list[tuple[str, str, str]]:
    """(unit, wide, narrow) forest plots, one for percentages and one for everything else, as far as they occur."""
    plots = []
    for percent, unit in ((True, "percentage points"), (False, "the metric's own unit")):
        chosen = [item for item in results.comparisons if results.metric(item.metric).percent is percent]
        if not chosen:
            continue
        pairs = list(dict.fromkeys((item.arm, item.baseline) for item in chosen))
        rows = [
            comparison_row(
                item,
                results,
                label=_metric_label(item, results),
                group=f"{item.arm} minus {item.baseline}" if len(pairs) > 1 else "",
            )
            for pair in pairs
            for item in chosen
            if (item.arm, item.baseline) == pair
        ]
        what = f"{pairs[0][0]} minus {pairs[0][1]}" if len(pairs) == 1 else "arm minus baseline"
        title = f"Differences with {level(results.level)} intervals"
        axis = f"{unit}, {what}"
        wide = figures.forest(rows, title=title, axis=axis, width=WIDE)
        narrow = figures.forest(rows, title=title, axis=axis, width=NARROW, narrow=True)
        plots.append((unit, wide, narrow))
    return plots


def _metric_label(item: Comparison, results: Results) -> str:
    metric = results.metric(item.metric)
    return f"{metric.name}, {metric.split}" if metric.split else metric.name


def error_type_bars(items: Sequence[Comparison], results: Results) -> list[str]:
    """A small interval bar per comparison, all on one domain per unit."""
    rows = [comparison_row(item, results, label=item.error_type or item.metric) for item in items]
    bars = []
    for item, row in zip(items, rows, strict=True):
        percent = results.metric(item.metric).percent
        peers = [r for i, r in zip(items, rows, strict=True) if results.metric(i.metric).percent is percent]
        known = [x for r in peers for x in (r.value, r.low, r.high) if x is not None]
        lo, hi = min([0.0, *known]), max([0.0, *known])
        bars.append(figures.interval_bar(row, lo, hi) if hi > lo else "")
    return bars


def reliance_plot(reliance: Reliance, width: float, *, narrow: bool = False) -> str:
    """Drop of log pi(y_w) per model, lesion noised against elsewhere noised."""
    rows = []
    for row in reliance.rows:
        for name, item, series in (("lesion noised", row.lesion, 0), ("elsewhere noised", row.elsewhere, 1)):
            rows.append(
                figures.ForestRow(
                    name, item.value, item.low, item.high, group=row.model, series=series, hollow=series == 1,
                    text=_with_bounds(item.value, item.low, item.high),
                )
            )  # fmt: skip
    title = "Drop of log π(y_w) when the lesion or the same amount elsewhere is noised"
    return figures.forest(rows, title=title, axis="drop of log π(y_w), nats", width=width, narrow=narrow, decimals=2)


def _with_bounds(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return number(value, 2)
    return f"{number(value, 2)} ({number(low, 2)} to {number(high, 2)})"


def training_plot(panel: CurvePanel, training: Training) -> str:
    """One panel of curves with the run's markers."""
    colours = {"best": 3, "collapse": 1, "note": None}
    steps = [x for other in training.panels for series in other.series for x, _ in series.points]
    return figures.lines(
        [figures.Line(series.name, series.points) for series in panel.series],
        title=panel.title,
        x_label=training.x_label,
        y_label=panel.y_label,
        markers=[figures.Marker(marker.step, marker.label, colours[marker.kind]) for marker in training.markers],
        x_range=(min(steps), max(steps)) if steps else None,
    )


def score_plot(source: ScoreSource) -> str:
    """Histogram of raw scores; bins are centred on multiples of 0.05, so that x/10 scores stand in their middle."""
    known = [value for value in source.scores if value is not None]
    first, last = math.floor(min([0.0, *known]) * 20 + 0.5), math.floor(max([1.0, *known]) * 20 + 0.5)
    edges = [(index - 0.5) / 20 for index in range(first, last + 2)]
    return figures.histogram(source.scores, edges, title=f"Raw scores, {source.source}", x_label="raw score")


def weight_plot(source: ScoreSource) -> str:
    """Histogram of weights in 20 bins, with the bounds of the clip marked."""
    bounds = [(source.lower, "lower bound"), (source.upper, "upper bound")]
    markers = [figures.Marker(bound, text) for bound, text in bounds if bound is not None]
    known = [x for x in source.weights if x is not None] + [marker.x for marker in markers]
    edges = figures.equal_bins(min(known), max(known), 20) if known else [0.0, 1.0]
    return figures.histogram(
        source.weights, edges, title=f"Weights, {source.source}", x_label="weight s′", markers=markers, series=2
    )
