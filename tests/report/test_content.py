"""What the data model refuses, and what it turns into "not measured"."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmedpo.records import Drop
from mmedpo.report import content as c
from mmedpo.report.sections.drops import count_drops
from mmedpo.report.sections.groundings import GroundingSample
from mmedpo.report.sections.results import Arm, Results
from mmedpo.report.sections.training import CurveSeries


def test_a_number_that_is_not_finite_is_not_measured() -> None:
    assert c.Interval(value=float("nan"), low=float("-inf"), high=1.0).value is None
    assert CurveSeries(name="loss", points=((0.0, 1.0), (1.0, float("nan")))).points[1] == (1.0, None)


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="low before high"):
        c.Interval(value=0.0, low=1.0, high=-1.0)


def test_a_value_under_an_unknown_metric_is_refused_instead_of_vanishing() -> None:
    with pytest.raises(ValidationError, match=r"\['acuracy'\] are not among \['accuracy'\]"):
        Results(
            metrics=(c.Metric(key="accuracy", name="accuracy"),),
            arms=(Arm(name="base", values={"acuracy": c.Interval(value=0.5)}),),
        )


def test_two_metrics_with_one_key_are_refused() -> None:
    metric = c.Metric(key="accuracy", name="accuracy")
    with pytest.raises(ValidationError, match="not unique"):
        Results(metrics=(metric, metric))


def test_only_png_and_jpeg_are_embedded() -> None:
    with pytest.raises(ValidationError, match="PNG or JPEG"):
        GroundingSample(name="x", clean=b"<svg onload='alert(1)'>")


def test_drops_are_counted_by_stage_and_reason_with_their_first_items() -> None:
    drops = [Drop(stage="data", item=f"row {i}", reason="unreadable-image", detail="cut") for i in range(5)]
    drops.insert(1, Drop(stage="score", item="q1", reason="unparsable"))
    first, second = count_drops(drops, examples=2)
    assert (first.stage, first.reason, first.count) == ("data", "unreadable-image", 5)
    assert first.examples == ("row 0: cut", "row 1: cut")
    assert (second.count, second.examples) == (1, ("q1",))
