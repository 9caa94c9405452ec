"""`mmedpo lint`: what is wrong with a preference file, and a cleaned copy of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mmedpo import terminal
from mmedpo.cli.preferences import (
    DatasetOption,
    FileArgument,
    FormatOption,
    ImagesOption,
    RootOption,
    SplitOption,
    read_dataset,
)

if TYPE_CHECKING:
    from mmedpo.config.lint import LintSettings
    from mmedpo.lint.findings import Finding, LintReport
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
    file: FileArgument,
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
    from mmedpo.pipeline.mending import mend
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
                mended = mend(rows, reading, report, evidence, fix, drop or [], folders[1])
            rows, evidence = mended.rows, mended.evidence
            print("\n".join(mended.told), file=sys.stderr)
            report = lint_rows(rows, evidence, settings, file=fix.name, format_name=reading.format)
    _show(report, rows, rows_of, json_output)
    raise typer.Exit(EXIT[report.worst()])


def _check_outputs(file: Path, fix: Path | None, drop: list[str] | None) -> None:
    from mmedpo.errors import ConfigError
    from mmedpo.pipeline.mending import outputs
    from mmedpo.storage.paths import check_output

    if drop and fix is None:
        raise ConfigError("--drop has no effect without --fix; name the cleaned copy")
    for out in [] if fix is None else outputs(fix):
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
    places = {row.source_row: place for place, row in enumerate(rows)}
    for number in finding.rows:
        if number not in places:
            print(f"row {number}: not readable")
            continue
        row = rows[places[number]]
        value = row.score if row.weight is None else row.weight
        weight = f", weight {value:g}" if value is not None else ""
        print(f"row {number} ({', '.join(row.images)}{weight})")
        for label, text in (("asked", row.question), ("chosen", row.chosen_text), ("rejected", row.rejected_text)):
            print(f"  {label:9}{' '.join(text.split())}")
