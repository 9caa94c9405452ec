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
from mmedpo.report.verdict import (
    NO_COMPARISON,
    NOTHING_STORED,
    Headline,
    multiplicity_note,
    table_rows,
    tone,
    verdict_sentences,
)

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


def said(*comparisons: c.Comparison, metric: c.Metric = CLOSED) -> list[str]:
    return verdict_sentences([Headline(item, metric) for item in comparisons])


def test_a_rise() -> None:
    assert said(compare(0.021, 0.074)) == ["On test-balanced, closed accuracy rose."]


def test_a_fall_is_called_worse() -> None:
    assert said(compare(-0.074, -0.021, -0.048)) == ["On test-balanced, closed accuracy fell, which is worse."]


@pytest.mark.parametrize("bounds", [(-0.011, 0.107), (0.0, 0.1), (-0.1, 0.0), (0.0, 0.0)])
def test_an_interval_that_touches_zero_shows_no_difference(bounds: tuple[float, float]) -> None:
    assert said(compare(*bounds)) == ["On test-balanced, no difference shown in closed accuracy."]


def test_without_an_interval_nothing_is_claimed() -> None:
    assert said(compare(None, 0.1)) == [
        "On test-balanced, no change is claimed without an interval for closed accuracy."
    ]


def test_what_the_correction_takes_back_is_not_claimed() -> None:
    assert said(compare(0.021, 0.074, adjusted=0.2)) == [
        "On test-balanced, closed accuracy rose, which Holm's correction does not confirm."
    ]
    assert said(compare(-0.074, -0.021, adjusted=0.2)) == [
        "On test-balanced, closed accuracy fell, which is worse and which Holm's correction does not confirm."
    ]
    assert said(compare(0.021, 0.074, adjusted=0.05)) == ["On test-balanced, closed accuracy rose."]


def test_where_lower_is_better_a_rise_is_worse() -> None:
    errors = CLOSED.model_copy(update={"name": "contradiction rate", "higher_is_better": False})
    assert said(compare(0.021, 0.074), metric=errors)[0].endswith("which is worse.")
    assert tone(compare(-0.074, -0.021), errors) == "better"
    assert tone(compare(-0.074, 0.021), errors) == "plain"


def test_many_comparisons_are_one_sentence() -> None:
    metrics = [
        CLOSED.model_copy(update={"name": name}) for name in ("closed accuracy", "BLEU", "open recall", "METEOR")
    ]
    changes = [compare(0.1, 0.2), compare(0.1, 0.2), compare(-0.1, 0.2), compare(-0.2, -0.1)]
    found = [Headline(change, metric) for change, metric in zip(changes, metrics, strict=True)]
    assert verdict_sentences(found) == [
        "On test-balanced, closed accuracy and BLEU rose; no difference shown in open recall; METEOR fell, which is "
        "worse."
    ]


def test_the_sentence_names_the_arm_only_when_there_are_several() -> None:
    results = Results(metrics=(CLOSED,), comparisons=(compare(0.021, 0.074),))
    assert verdict(results=results) == "On test-balanced, closed accuracy rose."
    several = results.model_copy(update={"comparisons": (compare(0.021, 0.074), compare(-0.1, 0.1, arm="sft"))})
    assert verdict(results=several) == (
        "On test-balanced, against base: closed accuracy rose for tuned; no other difference shown."
    )


def test_several_models_are_one_sentence_and_a_row_for_every_change() -> None:
    bleu = c.Metric(key="bleu", name="BLEU", split="test-balanced")
    closed = (compare(0.02, 0.07, arm="a"), compare(0.02, 0.07, arm="b"), compare(-0.07, -0.02, arm="c", adjusted=0.3))
    both = verdict_sentences([Headline(item, m) for m in (CLOSED, bleu) for item in closed[:2]])
    assert both == ["On test-balanced, against base: closed accuracy and BLEU rose for a and b."]
    flat = [compare(-0.1, 0.1, metric="bleu", arm=arm) for arm in "abc"]
    results = Results(metrics=(CLOSED, bleu), comparisons=(*closed, *flat))
    assert verdict(results=results) == (
        "On test-balanced, against base: closed accuracy rose for a and b; closed accuracy fell for c, which is worse "
        "and which Holm's correction does not confirm; no other difference shown."
    )
    rows = table_rows([Headline(item, results.metric(item.metric)) for item in (*flat, *closed)])
    assert [(row.comparison.arm, row.metric.name) for row in rows] == [
        ("a", "BLEU"), ("b", "BLEU"), ("c", "BLEU"), *((arm, "closed accuracy") for arm in "abc"),
    ]  # fmt: skip


def test_headlines_take_the_place_of_the_first_comparisons() -> None:
    results = Results(metrics=(CLOSED,), comparisons=(compare(0.021, 0.074), compare(-0.1, 0.1, headline=True)))
    assert verdict(results=results).count("difference") == 1


def test_lesion_reliance_is_part_of_the_verdict() -> None:
    contrast = compare(0.43, 0.69, 0.56, before=0.09, after=0.65)
    reliance = Reliance(rows=(), contrast=contrast)
    assert verdict(reliance=reliance) == "By the probes, lesion reliance rose."
    results = Results(metrics=(CLOSED,), comparisons=(compare(0.021, 0.074),))
    assert verdict(results=results, reliance=reliance) == (
        "On test-balanced, closed accuracy rose. By the probes, lesion reliance rose."
    )


def test_nothing_measured_nothing_claimed() -> None:
    assert verdict() == NOTHING_STORED
    assert verdict(results=Results(metrics=(CLOSED,))) == NO_COMPARISON


def test_many_comparisons_say_what_chance_gives() -> None:
    many = (*[compare(-0.1, 0.1)] * 18, *[compare(0.1, 0.2)] * 2, compare(None, None))
    assert multiplicity_note(many, 0.95).startswith("2 of 20 intervals exclude 0; about 1.0 would by chance")
    assert multiplicity_note(many[:4], 0.95) == ""
