"""A cleaned copy of a preference file: the rows that the linter lets stand, and a log of every change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mmedpo.errors import ConfigError
from mmedpo.lint.findings import Change, LintReport
from mmedpo.lint.fix import by_row, count_changes, fix_rows
from mmedpo.lint.linter import Evidence
from mmedpo.pipeline.evidence import derived_weights
from mmedpo.preferences.reading import RowsReading
from mmedpo.preferences.writing import ExportReport, export_rows
from mmedpo.records import PreferenceRow
from mmedpo.storage.held import Held
from mmedpo.storage.tables import atomic_path


class Mended(NamedTuple):
    """The rows of the copy, numbered as they stand in it."""

    rows: Sequence[PreferenceRow]
    evidence: Evidence
    told: list[str]
    """What was done, line by line."""


def mend(
    rows: Sequence[PreferenceRow],
    reading: RowsReading,
    report: LintReport,
    evidence: Evidence,
    out: Path,
    also_drop: Sequence[str],
    image_root: Path,
) -> Mended:
    """Writes the cleaned copy and its log.

    Args:
        rows: rows of the file.
        reading: how they were read.
        report: what the linter found in them.
        evidence: by what it was found.
        out: the copy.
        also_drop: checks whose rows are left out too.
        image_root: folder the images are relative to.

    Raises:
        ConfigError: no such check was found, or no row would be left.
    """
    unknown = sorted(set(also_drop) - {finding.check for finding in report.findings})
    if unknown:
        found = ", ".join(finding.check for finding in report.findings)
        raise ConfigError(f"--drop {unknown[0]}: no such finding in this file; found were {found or 'none'}")
    kept, changes = fix_rows(rows, report.findings, evidence.drops, also_drop)
    if not kept:
        told = ", ".join(f"{count} x {what.removeprefix('drop ')}" for what, count in count_changes(changes).items())
        raise ConfigError(f"--fix {out} would hold no row: all {report.rows} are left out ({told or 'there are none'})")
    source = Held(PreferenceRow, _as_imported(kept, reading))
    target = "mmedpo" if out.suffix == ".parquet" and reading.format not in ("trl", "rlhf-v") else reading.format
    written = export_rows(source, out, target, image_root, embedded=reading.embedded)
    gone = {drop.item: drop.reason for drop in written.left_out}
    for row in kept:
        if row.row_id in gone:
            changes.append(Change(row=row.source_row, row_id=row.row_id, check=gone[row.row_id], action="drop"))
    with atomic_path(_log_of(out)) as unfinished, unfinished.open("w", encoding="utf-8") as log:
        log.writelines(change.model_dump_json() + "\n" for change in by_row(changes))
    left = (row for row in kept if row.row_id not in gone)
    numbered = (row.model_copy(update={"source_row": number}) for number, row in enumerate(left))
    renumbered = Held(PreferenceRow, numbered)
    found_again = replace(evidence, drops=(), derived=derived_weights(renumbered))
    return Mended(renumbered, found_again, _told(written, report.rows, out, target, changes))


def _as_imported(kept: Iterable[PreferenceRow], reading: RowsReading) -> Iterator[PreferenceRow]:
    """Rows that are some of the file's, in its order, with the places they had in the file it was made of."""
    file = iter(reading.rows)
    for row in kept:
        read = next(read for read in file if read.row_id == row.row_id)
        yield row.model_copy(update={"source_row": read.source_row})


def outputs(cleaned: Path) -> list[Path]:
    """Every file that a cleaned copy may write."""
    return [cleaned, _log_of(cleaned), cleaned.with_name("dataset_info.json")]


def _told(written: ExportReport, rows: int, out: Path, target: str, changes: Sequence[Change]) -> list[str]:
    lines = [f"{written.written} of {rows} rows written to {out} ({target}); every change is in {_log_of(out)}"]
    lines += [f"  {count} x {what}" for what, count in count_changes(changes).items()]
    if written.images:
        lines.append(f"{written.images} images from inside the file written to {written.image_root / 'images'}")
    return lines


def _log_of(cleaned: Path) -> Path:
    return cleaned.with_name(f"{cleaned.stem}.changes.jsonl")
