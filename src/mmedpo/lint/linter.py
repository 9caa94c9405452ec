"""The linter: one pass over the table, in which every check sees every row."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mmedpo.config.lint import LintSettings
from mmedpo.lint.checks import ROW_CHECKS
from mmedpo.lint.evidence_checks import Leaks, Lengths, NoisedShares, UnreadableImages
from mmedpo.lint.findings import SEVERITIES, Finding, LintReport
from mmedpo.lint.fix import repaired
from mmedpo.lint.table_checks import Duplicates, Shortcuts, Weights
from mmedpo.records import Drop, Example, ImageRef, PreferenceRow


@dataclass(frozen=True)
class Evidence:
    """What was looked at besides the rows; None where it was not, and the checks that need it are skipped."""

    drops: Sequence[Drop] = ()
    """Rows of the file that are no preference; `item` is `row <number>`."""
    images: Mapping[str, ImageRef] | None = None
    """Image path to reference, for every readable one."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Image path to what is wrong with it."""
    noised: Mapping[str, float] | None = None
    """Row id to share of pixels in which the rejected image differs from the clean one."""
    tokens: Mapping[str, int] | None = None
    """Row id to tokens of the longer side, image tokens included."""
    derived: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Weighting mode to the weights it would give."""
    held_out: Sequence[Example] | None = None
    """Examples of the splits that are not trained on."""


class Check(Protocol):
    """Looks at a table, a row at a time; no row is held."""

    def see(self, row: PreferenceRow) -> None:
        """Takes every row once, in the order of the table."""
        ...

    def findings(self) -> Iterator[Finding]:
        """What was found in all of them."""
        ...


_NEEDS = {
    "unreadable-image": ("images", "the images: --images FOLDER"),
    "noised-area": ("noised", "the images: --images FOLDER"),
    "truncated": ("tokens", "a tokenizer: --tokenizer FOLDER"),
    "test-leak": ("held_out", "the dataset: --dataset NAME --root FOLDER"),
}


def lint_rows(
    rows: Sequence[PreferenceRow],
    evidence: Evidence,
    settings: LintSettings,
    *,
    file: str = "",
    format_name: str = "",
) -> LintReport:
    """Finds everything that is wrong with a table. Pure.

    Row numbers are positions in the source file (`PreferenceRow.source_row`), counted from 0.
    """
    checks = list(_checks(len(rows), evidence, settings))
    for row in rows:
        for check in checks:
            check.see(row)
    findings = [*_unreadable(rows, evidence), *(finding for check in checks for finding in check.findings())]
    skipped = {name: needs for name, (part, needs) in _NEEDS.items() if getattr(evidence, part) is None}
    always = ["unreadable-row", *(check.name for check in ROW_CHECKS), "length-shortcut", "word-shortcut"]
    always += ["weights", "duplicates"]
    return LintReport(
        file=file,
        format=format_name,
        rows=len(rows) + len(evidence.drops),
        findings=tuple(sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), -f.count, f.check))),
        checked=(*always, *(name for name in _NEEDS if name not in skipped)),
        skipped=skipped,
    )


def _checks(of: int, evidence: Evidence, settings: LintSettings) -> Iterator[Check]:
    """All that the evidence allows, for a table of so many rows."""
    yield RowFaults(of)
    yield Shortcuts(settings)
    yield Weights(of, evidence.derived, settings)
    yield Duplicates(of)
    if evidence.images is not None:
        yield UnreadableImages(of, evidence.failures, evidence.images)
    if evidence.noised is not None:
        yield NoisedShares(evidence.noised, settings.smallest_noised, settings.largest_noised)
    if evidence.tokens is not None:
        yield Lengths(of, evidence.tokens, settings.max_length)
    if evidence.held_out:
        yield Leaks(of, evidence.images or {}, evidence.held_out)


class RowFaults:
    """Every row check, and how many of the rows that are to be repaired cannot be, and so are left out."""

    def __init__(self, of: int) -> None:
        self._of = of
        self._failing = {check.name: array("q") for check in ROW_CHECKS}
        self._lost = Counter[str]()

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        failed = [check for check in ROW_CHECKS if check.fails(row)]
        to_repair = [check for check in failed if check.action == "repair"]
        mended = repaired(row)[0] if to_repair else row
        for check in failed:
            self._failing[check.name].append(row.source_row)
        for check in to_repair:
            self._lost[check.name] += check.fails(mended)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        for check in ROW_CHECKS:
            failing, lost = self._failing[check.name], self._lost[check.name]
            if failing:
                message = check.message.format(count=len(failing), of=self._of)
                yield Finding(
                    check=check.name,
                    severity=check.severity,
                    count=len(failing),
                    of=self._of,
                    rows=tuple(failing),
                    message=f"{message}; {lost} cannot be mended" if lost else message,
                    action="drop" if lost == len(failing) else check.action,
                )


def _unreadable(rows: Sequence[PreferenceRow], evidence: Evidence) -> Iterator[Finding]:
    if evidence.drops:
        counts = ", ".join(f"{n} {reason}" for reason, n in Counter(d.reason for d in evidence.drops).most_common())
        numbers = tuple(int(drop.item.removeprefix("row ")) for drop in evidence.drops)
        yield Finding(
            check="unreadable-row",
            severity="error",
            count=len(numbers),
            of=len(rows) + len(numbers),
            rows=numbers,
            message=f"{len(numbers)} rows are no preference: {counts}; the first: {evidence.drops[0].detail}",
            action="drop",
        )
