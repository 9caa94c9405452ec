"""`mmedpo lint`: what is wrong with a preference file, and a cleaned copy of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mmedpo import terminal
from mmedpo.cli.preferences import DatasetOption, FormatOption, ImagesOption, RootOption, SplitOption, read_dataset

if TYPE_CHECKING:
    from mmedpo.config.lint import LintSettings
    from mmedpo.lint.findings import Finding, LintReport
    from mmedpo.lint.linter import Evidence
    from mmedpo.preferences.reading import RowsReading
    from mmedpo.records import PreferenceRow

EXIT = {None: 0, "note": 0, "warning": 1, "error": 3}
"""Exit code by the worst finding; 2 is a command that could not be carried out."""
_STYLE = {"error": "bold red", "warning": "yellow", "note": "dim"}
_SHOWN_ROWS = 5


FixOption = Annotated[Path | None, typer.Option("--fix", help="Write a cleaned copy here, and its changes beside it.")]
DropOption = Annotated[
    list[str] | None, typer.Option("--drop", help="With --fix: leave out the rows of this check too (repeatable).")
]


def lint(
    file: Annotated[Path, typer.Argument(help="Preference file of any known format.")],
    images: ImagesOption = None,
    format_name: FormatOption = "",
    dataset: DatasetOption = "",
    root: RootOption = None,
    split: SplitOption = "",
    tokenizer: Annotated[Path | None, typer.Option(help="Local checkpoint: find rows its tokenizer would cut.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens that fit, image tokens included.")] = None,
    image_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens one image takes.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    rows_of: Annotated[str, typer.Option("--rows", help="Print every row that one check found, in full.")] = "",
    fix: FixOption = None,
    drop: DropOption = None,
) -> None:
    """Find, count and list what is wrong with a preference file.

    Exit code: 0 clean or notes only, 1 warnings, 3 errors (2: the file could not be checked). With --fix it is that
    of the cleaned copy.

    Example: mmedpo lint vqa-rad_dpo_weighted.json --images VQA_RAD/images --fix cleaned.json
    """
    from mmedpo.lint.linter import lint_rows
    from mmedpo.pipeline.evidence import gather
    from mmedpo.preferences.reading import read_rows
    from mmedpo.progress import LineReporter
    from mmedpo.storage.paths import written

    settings = _settings(tokenizer, max_length, image_tokens)
    _check_outputs(file, fix, drop)
    reporter = LineReporter()
    with TemporaryDirectory(prefix="mmedpo-lint-") as scratch:
        folders = [Path(scratch), images or file.parent]
        reading = read_rows(file, format_name, folders[1], extract=folders[0], progress=reporter.track("reading rows"))
        rows: Sequence[PreferenceRow] = reading.numbered()
        examples, _ = read_dataset(dataset, root, split, reporter)
        rows, evidence = gather(
            rows, reading.drops, folders, examples if dataset else None, tokenizer, settings, reporter
        )
        report = lint_rows(rows, evidence, settings, file=file.name, format_name=reading.format)
        if fix is not None:
            with written(fix):
                rows, evidence = _fix(rows, reading, report, evidence, fix, drop or [], folders[1])
            report = lint_rows(rows, evidence, settings, file=fix.name, format_name=reading.format)
    _show(report, rows, rows_of, json_output)
    raise typer.Exit(EXIT[report.worst()])


def _check_outputs(file: Path, fix: Path | None, drop: list[str] | None) -> None:
    from mmedpo.errors import ConfigError
    from mmedpo.storage.paths import check_output

    if drop and fix is None:
        raise ConfigError("--drop has no effect without --fix; name the cleaned copy")
    for out in _outputs(fix):
        check_output(out, [file])


def _show(report: LintReport, rows: Sequence[PreferenceRow], rows_of: str, json_output: bool) -> None:
    if json_output:
        print(report.model_dump_json(indent=1))
    elif rows_of:
        _print_rows(report, rows, rows_of)
    else:
        _print_report(report)


def _settings(tokenizer: Path | None, max_length: int | None, image_tokens: int | None) -> LintSettings:
    from mmedpo.config.lint import LintSettings
    from mmedpo.errors import ConfigError

    given = {"max_length": max_length, "image_tokens": image_tokens}
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen and tokenizer is None:
        name = next(iter(chosen)).replace("_", "-")
        raise ConfigError(f"--{name} has no effect without --tokenizer; name a checkpoint")
    return LintSettings.model_validate(chosen)


def _fix(
    rows: Sequence[PreferenceRow],
    reading: RowsReading,
    report: LintReport,
    evidence: Evidence,
    out: Path,
    also_drop: Sequence[str],
    image_root: Path,
) -> tuple[list[PreferenceRow], Evidence]:
    """Writes the cleaned copy and its log; gives its rows, numbered as they stand in it."""
    from dataclasses import replace

    from mmedpo.errors import ConfigError
    from mmedpo.lint.findings import Change
    from mmedpo.lint.fix import count_changes, fix_rows
    from mmedpo.pipeline.evidence import derived_weights
    from mmedpo.preferences.writing import export_rows
    from mmedpo.storage.tables import write_text

    unknown = sorted(set(also_drop) - {finding.check for finding in report.findings})
    if unknown:
        found = ", ".join(finding.check for finding in report.findings)
        raise ConfigError(f"--drop {unknown[0]}: no such finding in this file; found were {found or 'none'}")
    kept, changes = fix_rows(rows, report.findings, evidence.drops, also_drop)
    if not kept:
        told = ", ".join(f"{count} x {what.removeprefix('drop ')}" for what, count in count_changes(changes).items())
        raise ConfigError(f"--fix {out} would hold no row: all {report.rows} are left out ({told or 'there are none'})")
    original = {row.row_id: row.source_row for row in reading.rows}
    source = [row.model_copy(update={"source_row": original[row.row_id]}) for row in kept]
    target = "mmedpo" if out.suffix == ".parquet" and reading.format not in ("trl", "rlhf-v") else reading.format
    written = export_rows(source, out, target, image_root, embedded=reading.embedded)
    gone = {drop.item: drop.reason for drop in written.left_out}
    lost, kept = [row for row in kept if row.row_id in gone], [row for row in kept if row.row_id not in gone]
    changes += [Change(row=r.source_row, row_id=r.row_id, check=gone[r.row_id], action="drop") for r in lost]
    log = _log_of(out)
    write_text(log, "".join(change.model_dump_json() + "\n" for change in sorted(changes, key=lambda c: c.row)))
    _say(f"{written.written} of {report.rows} rows written to {out} ({target}); every change is in {log}")
    for what, count in count_changes(changes).items():
        _say(f"  {count} x {what}")
    if written.images:
        _say(f"{written.images} images from inside the file written to {written.image_root / 'images'}")
    renumbered = [row.model_copy(update={"source_row": number}) for number, row in enumerate(kept)]
    return renumbered, replace(evidence, drops=(), derived=derived_weights(renumbered))


def _outputs(cleaned: Path | None) -> list[Path]:
    """Every file that --fix may write."""
    return [] if cleaned is None else [cleaned, _log_of(cleaned), cleaned.with_name("dataset_info.json")]


def _log_of(cleaned: Path) -> Path:
    return cleaned.with_name(f"{cleaned.stem}.changes.jsonl")


def _print_report(report: LintReport) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{escape(report.file)}: {report.rows} rows of {report.format} (rows are counted from 0)",
        title_justify="left",
    )
    table.add_column("severity", no_wrap=True)
    table.add_column("count", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("finding", ratio=1)
    table.add_column("--fix", no_wrap=True)
    for finding in report.findings:
        shown = f"\n[dim]rows {_first(finding)}[/]" if finding.rows else ""
        table.add_row(
            f"[{_STYLE[finding.severity]}]{finding.severity}[/]",
            str(finding.count),
            f"{100 * finding.count / finding.of:.1f} %" if finding.of else "",
            f"[bold]{finding.check}[/]\n{escape(finding.message)}{shown}",
            "" if finding.action == "none" else finding.action,
        )
    console = terminal.console()
    if report.findings:
        console.print(table)
        console.print("every row of one check, in full: --rows CHECK; the whole report: --json", style="dim")
    else:
        console.print(f"{report.file}: {report.rows} rows of {report.format}, nothing found", markup=False)
    for check, needs in report.skipped.items():
        console.print(f"not checked: {check}, needs {needs}", style="dim", markup=False)
    counts = [(level, sum(f.severity == level for f in report.findings)) for level in _STYLE]
    console.print(", ".join(f"{n} {level}{'s' if n != 1 else ''}" for level, n in counts))


def _first(finding: Finding) -> str:
    shown = ", ".join(str(row) for row in finding.rows[:_SHOWN_ROWS])
    return shown + (" …" if len(finding.rows) > _SHOWN_ROWS else "")


def _print_rows(report: LintReport, rows: Sequence[PreferenceRow], check: str) -> None:
    from mmedpo.errors import ConfigError

    finding = next((f for f in report.findings if f.check == check), None)
    if finding is None:
        found = ", ".join(f.check for f in report.findings)
        raise ConfigError(f"--rows {check}: no such finding in this file; found were {found or 'none'}")
    print(f"{finding.severity}: {finding.message}")
    by_number = {row.source_row: row for row in rows}
    for number in finding.rows:
        row = by_number.get(number)
        if row is None:
            print(f"row {number}: not readable")
            continue
        value = row.score if row.weight is None else row.weight
        weight = f", weight {value:g}" if value is not None else ""
        print(f"row {number} ({', '.join(row.images)}{weight})")
        for label, text in (("asked", row.question), ("chosen", row.chosen_text), ("rejected", row.rejected_text)):
            print(f"  {label:9}{' '.join(text.split())}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)
