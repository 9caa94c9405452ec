"""The sentence claims a change only where the interval excludes 0."""

from __future__ import annotations

import html
import re

import pytest

from mmedpo.report import content as c
from mmedpo.report.page import render
from mmedpo.report.parts import Part
from mmedpo.report.sections.reliance import Reliance
from mmedpo.report.sections.results import Results
from mmedpo.report.verdict import NO_COMPARISON, NOTHING_STORED, comparison_sentence, multiplicity_note, tone

CLOSED = c.Metric(key="closed", name="closed accuracy", split="test-balanced", protocol="strict")


def verdict(**parts: Part) -> str:
    """The paragraph under the title of a page with these sections."""
    page = render(c.ReportContent(title="t", parts=parts))
    found = re.search(r'<p class="verdict">(.*?)</p>', page, re.DOTALL)
    assert found is not None
    return html.unescape(found[1])


def compare(low: float | None, high: float | None, value: float | None = 0.048, **more: object) -> c.Comparison:
    return c.Comparison.model_validate(
        {
            "metric": "closed",
            "arm": "tuned",
            "baseline": "base",
            "before": 0.612,
            "after": 0.66,
            "difference": c.Interval(value=value, low=low, high=high),
            **more,
        }
    )


def test_a_rise() -> None:
    assert comparison_sentence(compare(0.021, 0.074), CLOSED) == (
        "closed accuracy on test-balanced rose from 61.2 to 66.0 (+4.8, 95 % interval +2.1 to +7.4)"
    )


def test_a_fall_is_called_worse() -> None:
    assert comparison_sentence(compare(-0.074, -0.021, -0.048, before=0.66, after=0.612), CLOSED) == (
        "closed accuracy on test-balanced fell from 66.0 to 61.2 (−4.8, 95 % interval −7.4 to −2.1), which is worse"
    )


def test_an_interval_that_includes_zero_shows_no_difference() -> None:
    assert comparison_sentence(compare(-0.011, 0.107), CLOSED, 0.9) == (
        "no difference shown in closed accuracy on test-balanced: "
        "61.2 to 66.0 (+4.8, 90 % interval −1.1 to +10.7 includes 0)"
    )


@pytest.mark.parametrize("bounds", [(0.0, 0.1), (-0.1, 0.0), (0.0, 0.0)])
def test_an_interval_that_touches_zero_includes_it(bounds: tuple[float, float]) -> None:
    assert comparison_sentence(compare(*bounds), CLOSED).startswith("no difference shown")


def test_without_an_interval_nothing_is_claimed() -> None:
    assert comparison_sentence(compare(None, 0.1), CLOSED) == (
        "no interval for the change of closed accuracy on test-balanced (61.2 to 66.0), so no change is claimed"
    )


def test_where_lower_is_better_a_rise_is_worse() -> None:
    errors = CLOSED.model_copy(update={"name": "contradiction rate", "higher_is_better": False})
    assert comparison_sentence(compare(0.021, 0.074), errors).endswith("which is worse")
    assert tone(compare(-0.074, -0.021), errors) == "better"
    assert tone(compare(-0.074, 0.021), errors) == "plain"


def test_the_paragraph_names_the_arm_only_when_there_are_several() -> None:
    results = Results(metrics=(CLOSED,), comparisons=(compare(0.021, 0.074),))
    assert verdict(results=results).startswith("Closed accuracy on test-balanced rose")
    several = results.model_copy(update={"comparisons": (compare(0.021, 0.074), compare(-0.1, 0.1, arm="sft"))})
    paragraph = verdict(results=several)
    assert "tuned against base: closed accuracy" in paragraph
    assert "sft against base: no difference shown" in paragraph


def test_headlines_take_the_place_of_the_first_comparisons() -> None:
    results = Results(metrics=(CLOSED,), comparisons=(compare(0.021, 0.074), compare(-0.1, 0.1, headline=True)))
    assert verdict(results=results).count("difference") == 1


def test_lesion_reliance_is_part_of_the_verdict() -> None:
    contrast = compare(0.43, 0.69, 0.56, before=0.09, after=0.65)
    reliance = Reliance(rows=(), contrast=contrast)
    assert verdict(reliance=reliance) == (
        "The extra drop of log π(y_w) from noise in the lesion rather than elsewhere rose from 0.09 to 0.65 "
        "(+0.56, 95 % interval +0.43 to +0.69)."
    )


def test_nothing_measured_nothing_claimed() -> None:
    assert verdict() == NOTHING_STORED
    assert verdict(results=Results(metrics=(CLOSED,))) == NO_COMPARISON


def test_many_comparisons_say_what_chance_gives() -> None:
    many = (*[compare(-0.1, 0.1)] * 18, *[compare(0.1, 0.2)] * 2, compare(None, None))
    assert multiplicity_note(many, 0.95).startswith("2 of 20 intervals exclude 0; about 1.0 would by chance")
    assert multiplicity_note(many[:4], 0.95) == ""
