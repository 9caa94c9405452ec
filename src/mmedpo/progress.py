"""Progress of long work: done, rate and time left, on a terminal or in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

from mmedpo.terminal import rewrite

Advance = Callable[[int, int], None]
"""Called with (done, total) whenever some work is done; cheap enough for every item.

Work that an earlier process has done is told in a first call before anything else, so that it does
not count as speed.
"""


class Reporter(Protocol):
    """Where a run reports to."""

    def message(self, text: str) -> None:
        """One line for the user."""

    def track(self, label: str) -> Advance:
        """Opens a progress line; the returned function moves it."""


class Silent:
    """Reports nothing: the default of the Python API."""

    def message(self, text: str) -> None:
        """Ignored."""

    def track(self, label: str) -> Advance:
        """A function that does nothing."""
        return lambda done, total: None


class LineReporter:
    """Plain lines: rewritten in place on a terminal, one line every ten seconds otherwise."""

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty()

    def message(self, text: str) -> None:
        """Prints the line, in the place of an unfinished progress line."""
        rewrite(text)

    def track(self, label: str) -> Advance:
        """Opens a progress line with rate and time left."""
        started = time.monotonic()
        state = {"shown": started, "first": -1}

        def advance(done: int, total: int) -> None:
            now = time.monotonic()
            if state["first"] < 0:
                already = done > 1 and (done < total or now - started < 0.05)
                state["first"] = done if already else 0
            interval = 0.2 if self.terminal else 10.0
            if done < total and now - state["shown"] < interval:
                return
            state["shown"] = now
            line = describe(label, done, total, now - started, int(state["first"]))
            rewrite(line, end="" if self.terminal and done < total else "\n")

        return advance


def describe(label: str, done: int, total: int, seconds: float, resumed_at: int = 0) -> str:
    """One progress line, e.g. `sampling answers 120/400 (30 %), 14.2/s, 20 s left`.

    Args:
        label: what is being done.
        done: items finished, those of an earlier interrupted run included.
        total: items in all.
        seconds: time since this process began the work.
        resumed_at: items that were already there, left out of the rate.
    """
    rate = (done - resumed_at) / seconds if seconds > 0 else 0.0
    share = f"{100 * done / total:.0f} %" if total else "100 %"
    if done >= total:
        return f"{label} {done}/{total} in {duration(seconds)}" + (f" ({rate:.1f}/s)" if rate > 0 else "")
    left = f", {duration((total - done) / rate)} left" if rate > 0 else ""
    return f"{label} {done}/{total} ({share}), {rate:.1f}/s{left}"


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole or seconds == 0 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
