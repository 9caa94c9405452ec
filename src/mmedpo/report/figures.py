"""Figures as pure functions from numbers to inline SVG: `forest`, `interval_bar`, `lines`, `histogram`.

A number that is None or not finite is never drawn: a forest row says "not measured", a line has a gap, a histogram
counts it apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from mmedpo.report.formatting import MISSING, number
from mmedpo.report.svg import (
    CHARACTER,
    COLOURS,
    DASHES,
    DIGIT,
    MUTED,
    Scale,
    drawing,
    label,
    rule,
    tag,
    tick_text,
    ticks,
)

AXIS_ROOM = 36
"""Pixels below a plot for tick numbers and the axis label."""


class ForestRow(NamedTuple):
    """One interval of a forest plot, in printed units."""

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str = ""
    """Numbers at the right; made from the values when empty."""
    group: str = ""
    """Heading printed above the first row of a group."""
    series: int = 0
    """Index of the colour."""
    hollow: bool | None = None
    """Ring instead of dot; None: a ring where the interval includes 0 or is missing."""


class Marker(NamedTuple):
    """A vertical line in `lines` or `histogram`."""

    x: float
    label: str
    series: int | None = None
    """Index of the colour; None for the muted one."""


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _row_text(row: ForestRow, decimals: int) -> str:
    if not _finite(row.value):
        return MISSING
    if not (_finite(row.low) and _finite(row.high)):
        return f"{number(row.value, decimals, sign=True)} (no interval)"
    value, low, high = (number(x, decimals, sign=True) for x in (row.value, row.low, row.high))
    return f"{value} ({low} to {high})"


def _mark(row: ForestRow, scale: Scale, y: float, radius: float = 4.0) -> str:
    """The interval bar with its dot or ring."""
    if not _finite(row.value):
        return ""
    assert row.value is not None
    colour = COLOURS[row.series % len(COLOURS)]
    bar = ""
    bounded = _finite(row.low) and _finite(row.high)
    if bounded:
        assert row.low is not None
        assert row.high is not None
        bar = rule(scale(row.low), y, scale(row.high), y, stroke=colour, stroke_width=2.0, stroke_linecap="round")
    includes_zero = not bounded or (row.low or 0.0) <= 0 <= (row.high or 0.0)
    hollow = includes_zero if row.hollow is None else row.hollow
    fill = "var(--fig-paper, #fff)" if hollow else colour
    return bar + tag("circle", cx=scale(row.value), cy=y, r=radius, fill=fill, stroke=colour, stroke_width=2.0)


def forest(
    rows: Sequence[ForestRow],
    *,
    title: str,
    axis: str = "",
    width: float = 680,
    decimals: int = 1,
    narrow: bool = False,
) -> str:
    """Intervals of differences around a zero line.

    Wide: label left, bar, numbers right, 26 px a row. Narrow: label and numbers stand above the bar, 42 px a row, and
    each on a line of its own where one line cannot hold both. The axis always holds 0 and ends on round numbers.
    """
    numbers = [x for row in rows for x in (row.value, row.low, row.high) if x is not None and math.isfinite(x)]
    marks = ticks(min([0.0, *numbers]), max([0.0, *numbers]), 4 if narrow else 6) if numbers else [-1.0, 0.0, 1.0]
    texts = [row.text or _row_text(row, decimals) for row in rows]
    left = 16.0 if narrow else min(width * 0.38, 16 + CHARACTER * max([len(row.label) for row in rows], default=0))
    right = 16.0 if narrow else 18 + CHARACTER * max([len(text) for text in texts], default=0)
    scale = Scale(marks[0], marks[-1], left + 4, width - right - 4)
    step = 42.0 if narrow else 26.0
    parts: list[str] = []
    y = 4.0
    group = ""
    for row, text in zip(rows, texts, strict=True):
        if row.group and row.group != group:
            group = row.group
            parts.append(label(0.0, y + 16, group, room=width, font_weight=600, halo=True))
            y += 24
        beside = width - CHARACTER * len(text) - 8 if narrow else left - 8
        apart = narrow and CHARACTER * len(row.label) > beside
        parts.append(label(0.0, y + 17, row.label, room=width if apart else beside, halo=True))
        y += 17 if apart else 0
        middle = y + (31 if narrow else 13)
        parts.append(label(width, y + 17, text, anchor="end", class_="num", halo=True))
        parts.append(_mark(row, scale, middle))
        y += step
    grid = [rule(scale(m), 4.0, scale(m), y, opacity=0.10) for m in marks if abs(m) > 1e-12]
    zero = rule(scale(0.0), 4.0, scale(0.0), y, opacity=0.65)
    return drawing(
        width,
        y + AXIS_ROOM,
        title,
        _forest_words(rows, texts),
        [*grid, zero, *parts, _x_axis(scale, marks, y, axis, sign=True)],
    )


def _forest_words(rows: Sequence[ForestRow], texts: Sequence[str]) -> str:
    return "; ".join(
        f"{row.group + ', ' if row.group else ''}{row.label}: {text}" for row, text in zip(rows, texts, strict=True)
    )


def _x_axis(scale: Scale, marks: Sequence[float], y: float, text: str, *, sign: bool = False) -> str:
    """Tick numbers and the axis label below a plot whose lower edge is y."""
    last = len(marks) - 1
    every = max(1, math.ceil((last + 1) * 40 / max(scale.stop - scale.start, 1)))
    numbers = "".join(
        label(scale(mark), y + 14, tick_text(mark, marks, sign=sign), anchor="middle", opacity=0.8)
        for index, mark in enumerate(marks)
        if index % every == 0
    )
    name = (
        label(
            (scale.start + scale.stop) / 2,
            y + 29,
            text,
            anchor="middle",
            opacity=0.8,
            room=scale.stop - scale.start + 16,
        )
        if text
        else ""
    )
    return numbers + name


def interval_bar(row: ForestRow, lo: float, hi: float, *, width: float = 150, height: float = 18) -> str:
    """One forest row without axis, for a table cell; [lo, hi] is the domain shared by the column and holds 0."""
    if not lo <= 0 <= hi or lo == hi:
        raise ValueError(f"domain [{lo}, {hi}] must hold 0 and have a width; widen it")
    scale = Scale(lo, hi, 6.0, width - 6.0)
    zero = rule(scale(0.0), 0.0, scale(0.0), height, opacity=0.5)
    text = row.text or _row_text(row, 1)
    return drawing(width, height, f"{row.label}: {text}", "", [zero, _mark(row, scale, height / 2, 3.5)])


class Line(NamedTuple):
    """One series of `lines`; a y that is None or not finite leaves a gap."""

    name: str
    points: Sequence[tuple[float, float | None]]


def lines(
    series: Sequence[Line],
    *,
    title: str,
    x_label: str = "",
    y_label: str = "",
    markers: Sequence[Marker] = (),
    x_range: tuple[float, float] | None = None,
    width: float = 340,
    height: float = 200,
) -> str:
    """Curves over a common x axis; series are told apart by colour and dash, named above the plot.

    `x_range` is a stretch the x axis must hold besides the data, so that neighbouring figures can share one axis.
    """
    drawn = [(x, y) for line in series for x, y in line.points if y is not None and math.isfinite(y)]
    if not drawn:
        return drawing(width, 40, title, MISSING, [label(0.0, 24.0, f"{title}: {MISSING}", opacity=0.8)])
    y_marks = ticks(min(y for _, y in drawn), max(y for _, y in drawn), 4)
    texts = [tick_text(mark, y_marks) for mark in y_marks]
    left = 10 + DIGIT * max(len(text) for text in texts)
    xs = [x for line in series for x, _ in line.points] + [marker.x for marker in markers] + list(x_range or ())
    first, last = min(xs), max(xs)
    if first == last:
        first, last = first - 0.5, last + 0.5
    x_marks = [mark for mark in ticks(first, last, 5) if first <= mark <= last]
    legend, top = _legend(series, width) if len(series) > 1 else ("", 8.0)
    rows, row_count = _markers(markers, first, last, left, width - 8)
    top += 14 * row_count
    bottom = top + height - AXIS_ROOM - 16
    across, down = Scale(first, last, left, width - 8), Scale(y_marks[0], y_marks[-1], bottom, top)
    parts = [legend]
    for mark, text in zip(y_marks, texts, strict=True):
        parts.append(rule(left, down(mark), width - 8, down(mark), opacity=0.10))
        parts.append(label(left - 6, down(mark) + 4, text, anchor="end", opacity=0.8))
    parts.append(_x_axis(across, x_marks if len(x_marks) > 1 else [first, last], bottom, x_label))
    parts += [_marker(m, across, top - 14 * (row_count - r), bottom, width) for m, r in zip(markers, rows, strict=True)]
    parts += [_curve(line, i, across, down) for i, line in enumerate(series)]
    return drawing(width, bottom + AXIS_ROOM, title, _line_words(series, y_label), parts)


def _legend(series: Sequence[Line], width: float) -> tuple[str, float]:
    """Names with a swatch, wrapped to `width`; returns the markup and the y below it."""
    parts, x, y = [], 0.0, 12.0
    for index, line in enumerate(series):
        room = 26 + CHARACTER * len(line.name) + 12
        if x > 0 and x + room > width:
            x, y = 0.0, y + 16
        parts.append(_stroke("line", index, x1=x, y1=y - 4, x2=x + 20, y2=y - 4))
        parts.append(label(x + 26, y, line.name, room=width - x - 26))
        x += room
    return "".join(parts), y + 12


def _stroke(name: str, index: int, **attributes: object) -> str:
    colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
    return tag(
        name,
        stroke=colour,
        stroke_width=1.8,
        stroke_dasharray=dash or None,
        stroke_linejoin="round",
        fill="none",
        **attributes,
    )


def _markers(markers: Sequence[Marker], lo: float, hi: float, left: float, right: float) -> tuple[list[int], int]:
    """Row of each marker's label so that no two labels of a row meet, and how many rows that takes."""
    across = Scale(lo, hi, left, right)
    taken: list[list[tuple[float, float]]] = []
    rows = []
    for marker in markers:
        x, long = across(marker.x), CHARACTER * len(marker.label) + 10
        start, stop = (x, x + long) if x < (left + right) / 2 else (x - long, x)
        row = next((i for i, spans in enumerate(taken) if all(stop < a or start > b for a, b in spans)), len(taken))
        if row == len(taken):
            taken.append([])
        taken[row].append((start, stop))
        rows.append(row)
    return rows, len(taken)


def _marker(marker: Marker, across: Scale, y: float, bottom: float, width: float) -> str:
    """A dashed vertical line with its label at height y, on the side where there is room."""
    x = across(marker.x)
    colour = MUTED if marker.series is None else COLOURS[marker.series % len(COLOURS)]
    left_half = x < (across.start + across.stop) / 2
    text = label(
        x + 4 if left_half else x - 4, y + 9, marker.label, anchor="start" if left_half else "end",
        room=(width - x if left_half else x) - 6, fill=colour, halo=True,
    )  # fmt: skip
    return rule(x, y, x, bottom, stroke=colour, stroke_dasharray="3 3", stroke_width=1.2) + text


def _curve(line: Line, index: int, across: Scale, down: Scale) -> str:
    """The polyline of each unbroken stretch; a stretch of one point is a dot."""
    parts = []
    for stretch in _stretches(line.points):
        if len(stretch) == 1:
            x, y = stretch[0]
            parts.append(tag("circle", cx=across(x), cy=down(y), r=2.5, fill=COLOURS[index % len(COLOURS)]))
        else:
            path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in _thinned(stretch))
            parts.append(_stroke("polyline", index, points=path))
    return "".join(parts)


def _stretches(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    found: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None and math.isfinite(y):
            found[-1].append((x, y))
        elif found[-1]:
            found.append([])
    return [stretch for stretch in found if stretch]


def _thinned(points: list[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """At most about `most` points, keeping the lowest and highest of each bucket so that no spike is lost."""
    if len(points) <= most:
        return points
    size = math.ceil(len(points) * 2 / most)
    kept = [points[0]]
    for start in range(1, len(points) - 1, size):
        bucket = points[start : min(start + size, len(points) - 1)]
        kept += sorted({min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])})
    return [*kept, points[-1]]


def _line_words(series: Sequence[Line], y_label: str) -> str:
    words = []
    for line in series:
        values = [y for _, y in line.points if y is not None and math.isfinite(y)]
        gaps = len(line.points) - len(values)
        said = f"{values[0]:.4g} at first, {values[-1]:.4g} at last" if values else MISSING
        words.append(f"{line.name}: {said}" + (f", {gaps} points {MISSING}" if gaps else ""))
    return (f"{y_label}. " if y_label else "") + "; ".join(words)


def equal_bins(lo: float, hi: float, number_of_bins: int) -> list[float]:
    """Edges of equal bins over [lo, hi], widened by 0.5 on both sides where the two are the same but for rounding."""
    if hi - lo <= 1e-9 * max(abs(lo), abs(hi)):
        lo, hi = lo - 0.5, hi + 0.5
    return [*(lo + (hi - lo) * index / number_of_bins for index in range(number_of_bins)), hi]


def bin_counts(values: Sequence[float], edges: Sequence[float]) -> list[int]:
    """How many values fall in [edge_i, edge_i+1), the last bin closed.

    A value within 1e-9 of the bin width below an edge counts above it, so that 0.1 * 3 lies with 0.3. Raises
    `ValueError` for a value outside the edges: a figure does not drop data.
    """
    widths = [b - a for a, b in pairwise(edges)]
    if not widths or min(widths) <= 0:
        raise ValueError(f"bin edges {list(edges)} must rise; give at least two, in order")
    tolerance = 1e-9 * max(widths)
    found = [0] * len(widths)
    for value in values:
        if not edges[0] - tolerance <= value <= edges[-1] + tolerance:
            raise ValueError(f"value {value} lies outside the bins {edges[0]}..{edges[-1]}; widen them")
        index = sum(value >= edge - tolerance for edge in edges[1:-1])
        found[index] += 1
    return found


def histogram(
    values: Sequence[float | None],
    bins: int | Sequence[float],
    *,
    title: str,
    x_label: str = "",
    markers: Sequence[Marker] = (),
    series: int = 0,
    width: float = 340,
    height: float = 170,
) -> str:
    """Counts of finite values in `bins`: a number of equal bins over the data, or their edges.

    Values that are None or not finite are counted in the description.
    """
    kept = [value for value in values if value is not None and math.isfinite(value)]
    if not kept:
        return drawing(width, 40, title, MISSING, [label(0.0, 24.0, f"{x_label or title}: {MISSING}", opacity=0.8)])
    edges = equal_bins(min(kept), max(kept), bins) if isinstance(bins, int) else [float(edge) for edge in bins]
    counts = bin_counts(kept, edges)
    y_marks = [mark for mark in ticks(0, max(counts), 3) if mark == round(mark)]
    left = 10 + DIGIT * max(len(tick_text(mark, y_marks)) for mark in y_marks)
    inside = [marker.x for marker in markers]
    across = Scale(min([edges[0], *inside]), max([edges[-1], *inside]), left, width - 10)
    rows, row_count = _markers(markers, across.lo, across.hi, left, width - 10)
    top, bottom = 8.0 + 14 * row_count, height - AXIS_ROOM + 14 * row_count
    down = Scale(0.0, y_marks[-1], bottom, top)
    colour = COLOURS[series % len(COLOURS)]
    parts = []
    for mark in y_marks:
        parts.append(rule(left, down(mark), width - 10, down(mark), opacity=0.5 if mark == 0 else 0.10))
        parts.append(label(left - 6, down(mark) + 4, tick_text(mark, y_marks), anchor="end", opacity=0.8))
    for a, b, n in zip(edges, edges[1:], counts, strict=False):
        if n:
            x = across(a) + 0.75
            wide = max(across(b) - 0.75 - x, 0.5)
            said = tag("title", f"{a:.3g} to {b:.3g}: {n}")
            parts.append(tag("rect", said, x=x, y=down(n), width=wide, height=bottom - down(n), fill=colour))
    x_marks = [mark for mark in ticks(across.lo, across.hi, 5) if across.lo - 1e-9 <= mark <= across.hi + 1e-9]
    parts.append(_x_axis(across, x_marks if len(x_marks) > 1 else [across.lo, across.hi], bottom, x_label))
    parts += [_marker(m, across, top - 14 * (row_count - r), bottom, width) for m, r in zip(markers, rows, strict=True)]
    missing = len(values) - len(kept)
    words = f"{len(kept)} values from {min(kept):.3g} to {max(kept):.3g}, mean {sum(kept) / len(kept):.3g}"
    return drawing(width, height + 14 * row_count, title, words + (f"; {missing} {MISSING}" if missing else ""), parts)
