"""Figures are well-formed, say what they show, and put the marks where the numbers are."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.report.figures import ForestRow, Line, Marker, bin_counts, forest, histogram, interval_bar, lines
from mmedpo.report.svg import CHARACTER, drawing, label, tick_text, ticks

numbers = st.floats(-1e6, 1e6) | st.just(math.nan) | st.none()
texts = st.text(st.characters(exclude_categories=()), max_size=30)


def parse(svg: str) -> ET.Element:
    root = ET.fromstring(svg)
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert root.findtext("title")
    return root


def vertical_lines(root: ET.Element) -> list[float]:
    return sorted(float(e.get("x1", "nan")) for e in root.iter("line") if e.get("x1") == e.get("x2"))


def test_forest_marks_stand_where_the_numbers_are() -> None:
    # The axis of -2..8 has a line every 2, so 3 lies one and a half spaces right of the zero line.
    root = parse(forest([ForestRow("a", 3.0, -2.0, 8.0)], title="t"))
    grid = vertical_lines(root)
    assert len(grid) == 6
    space, zero = grid[1] - grid[0], grid[1]
    (dot,) = root.iter("circle")
    assert float(dot.get("cx", "")) == pytest.approx(zero + 1.5 * space, abs=0.02)
    (bar,) = [e for e in root.iter("line") if e.get("stroke-linecap") == "round"]
    assert float(bar.get("x1", "")) == pytest.approx(zero - space, abs=0.02)
    assert float(bar.get("x2", "")) == pytest.approx(zero + 4 * space, abs=0.02)


@pytest.mark.parametrize("narrow", [False, True])
def test_forest_always_holds_zero_and_stays_inside(narrow: bool) -> None:
    rows = [ForestRow("closed accuracy, test-balanced", 40.0, 30.0, 50.0, group="tuned"), ForestRow("b", 33.0)]
    root = parse(forest(rows, title="t", width=340, narrow=narrow))
    inside = vertical_lines(root) + [float(e.get("cx", "nan")) for e in root.iter("circle")]
    assert min(inside) >= 0
    assert max(inside) <= 340
    (zero,) = [e for e in root.iter("line") if e.get("stroke-opacity") == "0.65"]
    assert float(zero.get("x1", "")) == vertical_lines(root)[0]


def test_a_ring_where_the_interval_includes_zero_or_is_missing() -> None:
    rows = [
        ForestRow("a", 3.0, 1.0, 5.0),
        ForestRow("b", 3.0, -1.0, 7.0),
        ForestRow("c", 3.0),
        ForestRow("d", 3.0, 0.0, 5.0),
    ]
    fills = [e.get("fill", "") for e in parse(forest(rows, title="t")).iter("circle")]
    assert ["paper" in fill for fill in fills] == [False, True, True, True]


def test_a_missing_difference_has_words_and_no_mark() -> None:
    root = parse(forest([ForestRow("a", None, None, None), ForestRow("b", math.nan, 0.0, 1.0)], title="t"))
    assert not list(root.iter("circle"))
    assert [e.text for e in root.iter("text")].count("not measured") == 2


def test_interval_bar_refuses_a_domain_without_zero() -> None:
    with pytest.raises(ValueError, match="must hold 0"):
        interval_bar(ForestRow("a", 2.0, 1.0, 3.0), 1.0, 3.0)


def test_interval_bar_position() -> None:
    root = parse(interval_bar(ForestRow("a", 5.0, 0.0, 10.0), -10.0, 10.0, width=112))
    (dot,) = root.iter("circle")
    assert float(dot.get("cx", "")) == 6 + 100 * 15 / 20


def test_a_gap_is_not_bridged_and_a_lone_point_is_a_dot() -> None:
    points = [(0.0, 1.0), (1.0, 2.0), (2.0, math.nan), (3.0, 2.5), (4.0, None), (5.0, 1.0), (6.0, 1.5)]
    root = parse(lines([Line("loss", points)], title="t"))
    assert len(list(root.iter("polyline"))) == 2
    assert len(list(root.iter("circle"))) == 1
    assert "2 points not measured" in (root.findtext("desc") or "")


def test_a_spike_survives_thinning() -> None:
    points = [(float(x), 1.0) for x in range(10_000)]
    points[7777] = (7777.0, 50.0)
    (curve,) = parse(lines([Line("loss", points)], title="t")).iter("polyline")
    drawn = curve.get("points", "").split()
    heights = [float(point.split(",")[1]) for point in drawn]
    assert len(drawn) < 500
    assert min(heights) < max(heights) - 50


def test_a_marker_stands_at_its_step() -> None:
    root = parse(lines([Line("a", [(0.0, 0.0), (100.0, 1.0)])], title="t", markers=[Marker(50.0, "best")]))
    (curve,) = root.iter("polyline")
    start, stop = (float(point.split(",")[0]) for point in curve.get("points", "").split())
    (marker,) = [e for e in root.iter("line") if e.get("stroke-dasharray") == "3 3"]
    assert float(marker.get("x1", "")) == pytest.approx((start + stop) / 2, abs=0.1)


def test_curves_without_any_number_say_so() -> None:
    root = parse(lines([Line("a", [(0.0, None)])], title="Accuracy"))
    assert "Accuracy: not measured" in [e.text for e in root.iter("text")]


def test_bins_close_at_the_top_and_forgive_rounding() -> None:
    assert bin_counts([0.0, 0.1 * 3, 0.3, 0.5, 1.0], [0.0, 0.3, 0.5, 1.0]) == [1, 2, 2]
    assert bin_counts([0.1 + 0.2 - 1e-16], [0.0, 0.3, 1.0]) == [0, 1]


def test_a_value_outside_the_bins_is_an_error_not_a_loss() -> None:
    with pytest.raises(ValueError, match=r"1\.3 lies outside"):
        histogram([0.5, 1.3], [0.0, 0.5, 1.0], title="t")


def test_values_that_differ_by_rounding_only_share_one_bin() -> None:
    svg = histogram([1.0, 1.0 + 2e-16, 1.0 - 1e-16], 20, title="t")
    assert len(list(parse(svg).iter("rect"))) == 1


def test_histogram_heights_are_counts() -> None:
    root = parse(histogram([0.1, 0.1, 0.1, 0.9, None], [0.0, 0.5, 1.0], title="t"))
    tall, short = (float(e.get("height", "")) for e in root.iter("rect"))
    assert tall == pytest.approx(3 * short, abs=0.05)
    assert root.findtext("desc") == "4 values from 0.1 to 0.9, mean 0.3; 1 not measured"


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-1.3, 3.2, [-2, -1, 0, 1, 2, 3, 4]), (0, 1e-6, [0, 2e-7, 4e-7, 6e-7, 8e-7, 1e-6])],
)
def test_ticks_are_round_and_enclose(lo: float, hi: float, expected: list[float]) -> None:
    assert ticks(lo, hi) == pytest.approx(expected)


def test_a_long_label_is_cut_in_the_middle_and_keeps_its_full_name() -> None:
    name = "closed accuracy on many questions, test-balanced"
    (text,) = parse(drawing(200, 20, "t", "", [label(0, 12, name, room=150)])).iter("text")
    cut = text.findtext("tspan") or ""
    assert len(cut) <= 150 / CHARACTER
    assert cut.startswith("closed")
    assert cut.endswith("balanced")
    assert text.findtext("title") == name


def test_tick_texts() -> None:
    assert [tick_text(x, [0, 0.25, 0.5]) for x in (0, 0.25, 0.5)] == ["0", "0.25", "0.50"]
    assert tick_text(5e-7, [0, 5e-7, 1e-6]) == "5e−7"
    assert tick_text(-2, [-2, 0, 2], sign=True) == "−2"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, numbers, numbers, numbers), max_size=5), texts, st.booleans())
def test_any_text_and_number_gives_well_formed_svg(
    rows: list[tuple[str, float | None, float | None, float | None]], text: str, narrow: bool
) -> None:
    made = [ForestRow(name, value, low, high, group=text) for name, value, low, high in rows]
    parse(forest(made, title="t" + text, axis=text, narrow=narrow))
    parse(
        lines(
            [Line(name, [(0.0, a), (1.0, b)]) for name, a, b, _ in rows], title="t" + text, markers=[Marker(0.5, text)]
        )
    )
    parse(histogram([value for _, value, _, _ in rows], 7, title="t" + text, x_label=text))
