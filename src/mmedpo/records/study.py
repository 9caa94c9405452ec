"""Cells of a table over several seeds."""

from __future__ import annotations

from mmedpo.records.core import Record


class Cell(Record):
    """One arm on one metric of one split."""

    arm: str
    """Name of the arm; `base` for the model before tuning."""
    split: str
    """The split."""
    metric: str
    """The metric."""
    mean: float
    """Mean over seeds of the mean over questions."""
    per_seed: tuple[float, ...]
    """Mean over questions, per seed."""
    difference: float | None = None
    """Arm minus base; None for the base."""
    low: float | None = None
    """Lower end of the 95 % interval of the difference."""
    high: float | None = None
    """Upper end."""
    p_value: float | None = None
    """Two-sided, of the difference."""
    p_adjusted: float | None = None
    """The same, adjusted by Holm's method for all differences of its table."""
    seed_low: float | None = None
    """Lower end of the interval with seeds and images as random effects; None for the base, or with one seed."""
    seed_high: float | None = None
    """Upper end."""
    seed_sd: float | None = None
    """Standard deviation of the difference between seeds, beyond what chance in the questions explains."""
    questions: int
    """Questions per seed."""
    images: int
    """Images they stand on."""


class Contrast(Record):
    """One arm against another on one metric of one split."""

    split: str
    """The split."""
    metric: str
    """The metric."""
    arm: str
    """The arm."""
    against: str
    """What it is compared with."""
    difference: float
    """Arm minus the other."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    p_value: float
    """Two-sided."""
    p_adjusted: float
    """The same, adjusted by Holm's method for all contrasts of its table."""


class ProbeCell(Record):
    """One arm under one probe."""

    arm: str
    """Name of the arm; `base` for the model before tuning."""
    means: dict[str, float]
    """Quantity of the probe -> its mean over questions and seeds."""
    difference: float | None = None
    """Headline quantity of the arm minus that of the base; None for the base."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end."""
    p_value: float | None = None
    """Two-sided, of the difference."""
    p_adjusted: float | None = None
    """The same, adjusted by Holm's method for the arms under this probe."""
