"""Numbers as a reader sees them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.report import formatting as f
from mmedpo.report.content import Interval, Metric

POINTS = Metric(key="a", name="accuracy")


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "text"),
    [
        (None, 1, False, "not measured"),
        (float("nan"), 1, False, "not measured"),
        (0.0, 1, True, "0.0"),
        (-0.04, 1, True, "0.0"),
        (4.84, 1, True, "+4.8"),
        (-1234.5, 1, False, "−1,234.5"),
    ],
)
def test_number(value: float | None, decimals: int, sign: bool, text: str) -> None:
    assert f.number(value, decimals, sign=sign) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "not measured"), (4.21, "4.2 s"), (59.97, "1 min 00 s"), (192.4, "3 min 12 s"), (3599.6, "1 h 00 min"),
        (3912.0, "1 h 05 min"),
    ],
)  # fmt: skip
def test_duration(seconds: float | None, text: str) -> None:
    assert f.duration(seconds) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (None, "not measured"),
        (0.0, "$0.00"),
        (0.00312, "$0.0031"),
        (1.005e3, "$1,005.00"),
        (0.999, "$0.9990"),
        (1e-6, "under $0.0001"),
    ],
)
def test_money(usd: float | None, text: str) -> None:
    assert f.money(usd) == text


def test_a_bound_that_is_not_zero_is_never_printed_as_zero() -> None:
    assert f.interval(Interval(value=0.04, low=0.0003, high=0.074), POINTS, sign=True) == "+0.03 to +7.40"


def test_an_interval_with_a_missing_bound_is_not_printed() -> None:
    assert f.interval(Interval(value=0.04, low=0.01), POINTS) == ""


def test_only_words_of_the_other_side_are_marked() -> None:
    spans = f.differing_words("It is on the left side.", "It is on the right side.")
    assert [span.text for span in spans if span.changed] == ["left"]


def test_answers_with_little_in_common_are_not_marked() -> None:
    assert f.differing_words("yes", "no evidence of disease") == (f.Span("yes", False),)


@given(st.text(), st.text())
def test_marking_loses_no_letter(text: str, other: str) -> None:
    assert "".join(span.text for span in f.differing_words(text, other)).strip() == text.strip()


@given(st.text(st.characters(exclude_categories=())))
def test_printable_text_always_encodes(text: str) -> None:
    assert len(f.printable(text).encode("utf-8").decode("utf-8")) == len(text)
