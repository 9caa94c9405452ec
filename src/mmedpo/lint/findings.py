"""What the linter says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.records import Record

Severity = Literal["error", "warning", "note"]
Action = Literal["repair", "drop", "none"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""


class Finding(Record):
    """One fault: how often, in which rows, and what follows from it."""

    check: str
    """Name of the check, e.g. `identical-sides`."""
    severity: Severity
    """`error`: it spoils training or its measurement; `warning`: it may; `note`: good to know."""
    count: int
    """How many rows (or images) show it."""
    of: int
    """How many were looked at."""
    rows: tuple[int, ...] = ()
    """Rows that show it, counted from 0 in the file; empty where it concerns the file as a whole."""
    message: str
    """One sentence for a person."""
    action: Action = "none"
    """What `--fix` does with these rows by itself."""
    numbers: dict[str, float] = Field(default_factory=dict)
    """Further numbers, by name."""


class Change(Record):
    """One thing that `--fix` did."""

    row: int
    """Row of the source, counted from 0."""
    row_id: str
    """Its id."""
    check: str
    """The check that asked for it."""
    action: Literal["repair", "drop"]
    """Changed, or left out."""
    field: str = ""
    """What was changed; empty for a row that was left out."""
    before: str = ""
    """Its text before (in full)."""
    after: str = ""
    """Its text after."""


class LintReport(Record):
    """Everything found in one file, worst first."""

    file: str
    """Name of the file."""
    format: str
    """Its format."""
    rows: int
    """Rows it holds."""
    findings: tuple[Finding, ...]
    """Worst first, then by name."""
    checked: tuple[str, ...]
    """Checks that were made."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """Checks that were not made, with what they would need."""

    def worst(self) -> Severity | None:
        """Severity of the worst finding; None for a clean file."""
        return next((level for level in SEVERITIES if any(f.severity == level for f in self.findings)), None)
