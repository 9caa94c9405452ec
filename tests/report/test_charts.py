"""From content to figures: units, shared axes, bounds."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from mmedpo.report import content as c
from mmedpo.report.sections.results import Results, difference_plots, error_type_bars
from mmedpo.report.sections.scores import ScoreSource, score_plot, weight_plot
from mmedpo.report.sections.training import CurvePanel, CurveSeries, Training, training_plot


def words(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter("text")]


def compare(metric: str) -> c.Comparison:
    return c.Comparison(
        metric=metric, arm="tuned", baseline="base", difference=c.Interval(value=0.03, low=-0.02, high=0.08)
    )


def test_fractions_are_drawn_in_percentage_points_and_other_units_apart() -> None:
    metrics = (c.Metric(key="p", name="accuracy"), c.Metric(key="x", name="log π", percent=False, decimals=2))
    results = Results(metrics=metrics, comparisons=(compare("p"), compare("x")))
    (unit, wide, _), (other, plain, _) = difference_plots(results)
    assert (unit, other) == ("percentage points", "the metric's own unit")
    assert {"−2", "+8", "+3.0 (−2.0 to +8.0)"} <= set(words(wide))
    assert {"−0.02", "+0.08", "+0.03 (−0.02 to +0.08)"} <= set(words(plain))


def test_error_type_bars_share_their_domain() -> None:
    metrics = (c.Metric(key="p", name="accuracy"),)
    wide = c.Comparison(
        metric="p",
        arm="tuned",
        baseline="base",
        error_type="side",
        difference=c.Interval(value=0.1, low=-0.1, high=0.3),
    )
    bars = error_type_bars((compare("p"), wide), Results(metrics=metrics, by_error_type=(compare("p"), wide)))
    zeros = [next(ET.fromstring(bar).iter("line")).get("x1") for bar in bars]
    assert zeros[0] == zeros[1]


def test_panels_of_one_training_share_the_step_axis() -> None:
    long = CurvePanel(title="loss", series=(CurveSeries(name="loss", points=((0.0, 1.0), (1000.0, 0.5))),))
    short = CurvePanel(title="probe", series=(CurveSeries(name="probe", points=((0.0, 0.1), (400.0, 0.2))),))
    training = Training(panels=(long, short))
    assert "1,000" in words(training_plot(short, training))


def test_scores_of_an_x_of_ten_scale_stand_in_the_middle_of_their_bins() -> None:
    svg = score_plot(ScoreSource(source="debate", scores=(0.0, 0.1, 0.1 * 3, 1.0)))
    titles = [rect.findtext("title") for rect in ET.fromstring(svg).iter("rect")]
    assert titles == ["-0.025 to 0.025: 1", "0.075 to 0.125: 1", "0.275 to 0.325: 1", "0.975 to 1.02: 1"]


def test_weights_outside_the_bounds_are_drawn_too() -> None:
    svg = weight_plot(ScoreSource(source="raw", weights=(0.0, 0.5, 2.0), lower=0.75, upper=1.25))
    assert len(list(ET.fromstring(svg).iter("rect"))) == 3
    assert {"lower bound", "upper bound"} <= set(words(svg))
