"""Bare SVG elements and linear scales: the ground `figures` stands on.

No `xmlns` is written: the pictures live inside HTML, where none is needed, and the page then holds no address at all.
Colours are CSS variables of the page with a fallback; text and axes take `currentColor`, so dark mode needs no second
figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from mmedpo.report.formatting import MINUS, printable

COLOURS = (
    "var(--fig-1, #1f6f8b)",
    "var(--fig-2, #b8622b)",
    "var(--fig-3, #6a5aa8)",
    "var(--fig-4, #4f7a3a)",
    "var(--fig-5, #9a4a6b)",
)
"""Series colours, told apart by lightness and hue; lines are also told apart by `DASHES`."""
DASHES = ("", "5 3", "1.5 2.5", "8 3 2 3", "3 1.5")
MUTED = "var(--fig-muted, #7a828a)"
FONT = 12
"""Size of figure text in user units, which are CSS pixels at the figure's own width."""
CHARACTER = 6.7
"""Width of a mean character at that size, for fitting labels; an estimate, there is no font here."""
DIGIT = 8.2
"""The same of the digits and signs of an axis, which are wider than letters in most fonts."""


def plain(text: str) -> str:
    """`text` as escaped content of an element."""
    return escape(printable(text))


def tag(name: str, *children: str, **attributes: object) -> str:
    """One element around markup `children`.

    Attribute names use `_` for `-`, their values are escaped, and an attribute that is `None` is left out.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(_value(value))}"
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(children)
    return f"<{name}{written}>{inner}</{name}>" if inner else f"<{name}{written}/>"


def _value(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else printable(str(value))


def drawing(width: float, height: float, title: str, description: str, parts: Sequence[str]) -> str:
    """The outer `<svg>`: an image to assistive technology, named by `title` and described by `description`."""
    return tag(
        "svg",
        tag("title", plain(title)),
        tag("desc", plain(description)) if description else "",
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=float(width),
        height=float(height),
        role="img",
        aria_label=f"{title}. {description}" if description else title,
        font_size=FONT,
        fill="currentColor",
    )


def label(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    room: float | None = None,
    halo: bool = False,
    **more: object,
) -> str:
    """Text whose baseline is at y; the middle is cut (full text in its title) when it is longer than `room` pixels.

    `halo` keeps lines drawn before it from running through the letters.
    """
    fits = max(1, int(room / CHARACTER)) if room is not None else len(text)
    written = plain(text)
    if len(text) > fits:
        written = tag("title", written) + tag("tspan", plain(_shortened(text, fits)))
    if halo:
        more |= {
            "paint_order": "stroke",
            "stroke": "var(--fig-paper, #fff)",
            "stroke_width": 4,
            "stroke_linejoin": "round",
        }
    return tag("text", written, x=x, y=y, text_anchor=None if anchor == "start" else anchor, **more)


def _shortened(text: str, fits: int) -> str:
    """`fits` characters with an ellipsis in the middle: names that begin alike often differ at their end."""
    kept = max(fits - 1, 0)
    tail = kept // 2
    return f"{text[: kept - tail].rstrip()}…{text[len(text) - tail :].lstrip()}"


def rule(x1: float, y1: float, x2: float, y2: float, *, opacity: float = 1.0, **more: object) -> str:
    """A thin straight line in the text's colour."""
    return tag(
        "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=more.pop("stroke", "currentColor"),
        stroke_opacity=None if opacity == 1.0 else opacity, **more,
    )  # fmt: skip


class Scale(NamedTuple):
    """A linear map from data [lo, hi] to pixels [start, stop]."""

    lo: float
    hi: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        """Pixel position of `value`."""
        return self.start + (value - self.lo) / (self.hi - self.lo) * (self.stop - self.start)


def ticks(lo: float, hi: float, target: int = 5) -> list[float]:
    """Round numbers (steps of 1, 2, 2.5 or 5 times a power of ten) that enclose [lo, hi] in about `target` steps."""
    if hi - lo < 1e-12 * max(abs(lo), abs(hi), 1e-12):
        pad = abs(lo) * 0.1 or 1.0
        lo, hi = lo - pad, hi + pad
    raw = (hi - lo) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(lo / step + 1e-9), math.ceil(hi / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_text(value: float, marks: Sequence[float], *, sign: bool = False) -> str:
    """A tick's number with the decimals its step needs; very small or large axes are written as 1e-7."""
    step = marks[1] - marks[0]
    largest = max(abs(mark) for mark in marks)
    if abs(value) < step / 1e6:
        return "0"
    if largest < 1e-3 or largest >= 1e5:
        mantissa, exponent = f"{abs(value):.2e}".split("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{MINUS if int(exponent) < 0 else ''}{abs(int(exponent))}"
    else:
        decimals = next((d for d in range(7) if abs(round(step, d) - step) < step * 1e-6), 6)
        text = f"{abs(value):,.{decimals}f}"
    return MINUS + text if value < 0 else f"+{text}" if sign else text
