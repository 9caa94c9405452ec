"""The linter: every check over one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mmedpo.config.lint import LintSettings
from mmedpo.lint.checks import ROW_CHECKS, image_findings, length_findings, row_findings, share_findings
from mmedpo.lint.findings import SEVERITIES, Action, Finding, LintReport
from mmedpo.lint.fix import repaired
from mmedpo.lint.table_checks import duplicate_findings, leak_findings, shortcut_findings, weight_findings
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
    findings = [
        *_unreadable(rows, evidence),
        *row_findings(rows),
        *shortcut_findings(rows, settings),
        *weight_findings(rows, evidence.derived, settings),
        *duplicate_findings(rows),
    ]
    if evidence.images is not None:
        findings += image_findings(rows, evidence.failures, list(evidence.images))
    if evidence.noised is not None:
        findings += share_findings(rows, evidence.noised, settings.smallest_noised, settings.largest_noised)
    if evidence.tokens is not None:
        findings += length_findings(rows, evidence.tokens, settings.max_length)
    if evidence.held_out is not None:
        findings += leak_findings(rows, evidence.images or {}, evidence.held_out)
    skipped = {name: needs for name, (part, needs) in _NEEDS.items() if getattr(evidence, part) is None}
    always = ["unreadable-row", *(check.name for check in ROW_CHECKS), "length-shortcut", "word-shortcut"]
    always += ["weights", "duplicates"]
    told = [_unmendable(finding, rows) for finding in findings]
    return LintReport(
        file=file,
        format=format_name,
        rows=len(rows) + len(evidence.drops),
        findings=tuple(sorted(told, key=lambda f: (SEVERITIES.index(f.severity), -f.count, f.check))),
        checked=(*always, *(name for name in _NEEDS if name not in skipped)),
        skipped=skipped,
    )


def _unmendable(finding: Finding, rows: Sequence[PreferenceRow]) -> Finding:
    """Also tells how many of the rows that are to be repaired cannot be, and so are left out."""
    if finding.action != "repair":
        return finding
    numbers = set(finding.rows)
    check = next((check for check in ROW_CHECKS if check.name == finding.check), None)
    failing = [row for row in rows if row.source_row in numbers]
    lost = sum(check is not None and check.fails(repaired(row)[0]) for row in failing)
    if not lost:
        return finding
    action: Action = "drop" if lost == len(failing) else "repair"
    return finding.model_copy(update={"message": f"{finding.message}; {lost} cannot be mended", "action": action})


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
