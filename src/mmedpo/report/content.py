"""What the whole page holds, and what several sections say: facts, values with intervals, comparisons.

Nothing here reads a file or computes a statistic. A number that was not measured is `None` (a value that is not
finite becomes `None` too) and is printed as "not measured", never as 0. A section without content does not appear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pydantic import model_validator

from mmedpo.report.parts import Measured, Part


class Fact(Part):
    """A label and its text, e.g. `torch` and `2.13.0`."""

    label: str
    value: str


class StageTime(Part):
    """Wall time of one stage."""

    stage: str
    seconds: Measured
    note: str = ""
    """E.g. `reused from an earlier run`."""


class Head(Part):
    """What was run, when, and with what."""

    run_name: str
    recipe: str = ""
    date: str = ""
    """As it should be printed, e.g. `2026-03-14 09:12 UTC`."""
    dataset: str = ""
    facts: tuple[Fact, ...] = ()
    """Model, adapter, device, seeds: whatever identifies the run."""
    versions: tuple[Fact, ...] = ()
    stages: tuple[StageTime, ...] = ()


class Interval(Part):
    """A value with the bounds of its interval; any of them may be missing."""

    value: Measured = None
    low: Measured = None
    high: Measured = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"interval bounds {self.low} > {self.high}; give low before high")
        return self


class Metric(Part):
    """One column of the results: what was measured, on which split, under which protocol."""

    key: str
    """Unique in the report; arms and comparisons refer to it."""
    name: str
    """As it is read in a sentence, e.g. `closed accuracy`."""
    split: str = ""
    protocol: str = ""
    n: int | None = None
    """Questions behind it."""
    percent: bool = True
    """True: stored as a fraction and printed times 100. False: printed as stored (e.g. log-probabilities)."""
    higher_is_better: bool | None = True
    """None when neither direction is good in itself."""
    decimals: int = 1


class Comparison(Part):
    """One arm against a baseline on one metric, in the metric's stored unit."""

    metric: str
    """Key of the metric."""
    arm: str
    """The model."""
    baseline: str
    """What it is compared with."""
    before: Measured = None
    """The baseline's value."""
    after: Measured = None
    """The arm's value."""
    difference: Interval = Interval()
    """`after - before` with its (paired) interval."""
    adjusted: Measured = None
    """p-value after Holm's correction for all comparisons of the table."""
    effect: Measured = None
    """The difference over the standard deviation of single questions' differences (d_z)."""
    n: int | None = None
    headline: bool = False
    """True: named in the verdict. When no comparison is, the first four are."""
    error_type: str = ""
    """Set for the tables of parts of a split (`side`, `organ: chest`); empty for the whole split."""


@dataclass(frozen=True)
class ReportContent:
    """The whole report; all but the title may be empty."""

    title: str
    head: Head | None = None
    caveats: tuple[str, ...] = ()
    """What this run cannot show, e.g. because the model is tiny."""
    parts: Mapping[str, Part] = field(default_factory=dict)
    """Registered name of a section -> its content."""
