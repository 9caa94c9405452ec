"""Numbers and texts as they are printed; a missing number is always the words "not measured"."""

from __future__ import annotations

import base64
import difflib
import math
import re
import struct
from typing import NamedTuple

from mmedpo.report.content import Interval, Metric
from mmedpo.report.parts import image_type

MISSING = "not measured"
SMALLEST_P = 0.001
MINUS = "\N{MINUS SIGN}"
TO = "\N{EN DASH}"


def number(value: float | None, decimals: int = 1, *, sign: bool = False) -> str:
    """`value` with fixed decimals and thousands separators; a true minus sign; `sign` also prints the plus."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{abs(value):,.{decimals}f}"
    is_zero = not any(digit in text for digit in "123456789")
    if value < 0 and not is_zero:
        return MINUS + text
    return f"+{text}" if sign and not is_zero else text


def count(value: int | None) -> str:
    """A whole number with thousands separators."""
    return MISSING if value is None else f"{value:,}"


def money(usd: float | None) -> str:
    """US dollars; small sums with the digits that a single call needs, and never a sum that was paid as 0."""
    if usd is None:
        return MISSING
    if 0 < usd < 0.0001:
        return "under $0.0001"
    return f"${number(usd, 2 if usd == 0 or usd >= 1 else 4)}"


def share(value: float | None, decimals: int = 0) -> str:
    """A fraction in [0, 1] as a percentage."""
    return MISSING if value is None else f"{number(100 * value, decimals)} %"


def p_value(value: float | None) -> str:
    """A p-value; small ones as a bound."""
    return MISSING if value is None else f"< {SMALLEST_P}" if value < SMALLEST_P else number(value, 3)


def duration(seconds: float | None) -> str:
    """Wall time in the two largest units, e.g. `1 h 05 min`, `3 min 12 s`, `4.2 s`."""
    if seconds is None:
        return MISSING
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def measured(value: float | None, metric: Metric, *, sign: bool = False) -> str:
    """A stored value in the metric's printed unit."""
    return number(in_unit(value, metric), metric.decimals, sign=sign)


def in_unit(value: float | None, metric: Metric) -> float | None:
    """A stored value times 100 where the metric is a percentage."""
    return value * 100 if value is not None and metric.percent else value


def interval(item: Interval, metric: Metric, *, sign: bool = False) -> str:
    """The bounds of an interval in the printed unit; empty when a bound is missing.

    A bound that is not zero is never printed as zero: decimals are added (up to four) until its sign shows,
    because "+0.0 to +7.4" leaves open whether the interval includes 0.
    """
    if item.low is None or item.high is None:
        return ""
    low, high = (in_unit(bound, metric) or 0.0 for bound in (item.low, item.high))
    decimals = metric.decimals
    while sign and decimals < 4 and any(bound != 0 and round(abs(bound), decimals) == 0 for bound in (low, high)):
        decimals += 1
    joint = " to " if sign or low < 0 else TO
    return f"{number(low, decimals, sign=sign)}{joint}{number(high, decimals, sign=sign)}"


def level(value: float) -> str:
    """Coverage of an interval, e.g. `95 %`."""
    return f"{100 * value:g} %"


class Span(NamedTuple):
    """A stretch of text and whether it differs from the other side."""

    text: str
    changed: bool


def differing_words(text: str, other: str, least_common: float = 0.3) -> tuple[Span, ...]:
    """Split `text` into spans that `other` shares and spans it does not, word by word, ignoring case.

    When less than `least_common` of the words match, marking would colour nearly everything: one unmarked span.
    """
    own, theirs = re.findall(r"\S+\s*", text), other.split()
    matcher = difflib.SequenceMatcher(
        None,
        [word.strip().lower().strip(".,;") for word in own],
        [w.lower().strip(".,;") for w in theirs],
        autojunk=False,
    )
    if not own or matcher.ratio() < least_common:
        return (Span(text, False),)
    spans = []
    for operation, start, stop, _, _ in matcher.get_opcodes():
        if start < stop:
            part = "".join(own[start:stop])
            bare = part.rstrip()
            spans += [Span(bare, operation != "equal"), Span(part[len(bare) :], False)]
    return tuple(span for span in spans if span.text)


def data_uri(data: bytes) -> str:
    """PNG or JPEG bytes as a data URI."""
    return f"data:{image_type(data)};base64,{base64.b64encode(data).decode('ascii')}"


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height written in a PNG's header; None for a JPEG or a cut header."""
    if image_type(data) != "image/png" or len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return int(width), int(height)


def printable(text: str) -> str:
    """Replace what HTML or UTF-8 cannot hold (control characters, lone surrogates) by U+FFFD."""
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)
