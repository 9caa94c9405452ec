"""What a stage says for the user while another process works on it: sent there, shown here."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection

from mmedpo.progress import Advance, Reporter, Silent

LINE: Connection | None = None
"""In a process that works for a run: the way to the run's own process."""
OFTEN = 0.1
"""Seconds between two steps of a progress line that are sent."""


@dataclass(frozen=True)
class Said:
    """A line, or a step of a progress line."""

    text: str
    """The line, or the label of the progress line."""
    number: int = -1
    """Of the progress line; -1: a line."""
    step: tuple[int, int] | None = None
    """Done and total; None: the progress line is opened."""


class Elsewhere(Silent):
    """The `Reporter` of a run in another process: its lines are told where there is a way, its progress is not."""

    def message(self, text: str) -> None:
        """See `Reporter`."""
        if LINE is not None:
            LINE.send(Said(text))


class Telling:
    """The `Reporter` of the one process that does a stage."""

    def __init__(self, line: Connection) -> None:
        self._line = line
        self._numbers = itertools.count()

    def message(self, text: str) -> None:
        """See `Reporter`."""
        self._line.send(Said(text))

    def track(self, label: str) -> Advance:
        """See `Reporter`. The first step says what an earlier process did, the last that it ends: both are sent."""
        number, sent = next(self._numbers), 0.0
        self._line.send(Said(label, number))

        def advance(done: int, total: int) -> None:
            nonlocal sent
            now = time.monotonic()
            if done >= total or now - sent >= OFTEN:
                sent = now
                self._line.send(Said(label, number, (done, total)))

        return advance


class Hearing:
    """Shows what processes tell; a line that several of them tell, once.

    Args:
        reporter: of the process that has the user's terminal.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._told: set[str] = set()
        self._lines: dict[int, Advance] = {}

    def hear(self, said: Said) -> None:
        """Shows it."""
        if said.number < 0:
            if said.text not in self._told:
                self._reporter.message(said.text)
            self._told.add(said.text)
        elif said.step is None:
            self._lines[said.number] = self._reporter.track(said.text)
        else:
            self._lines[said.number](*said.step)
