"""From a run folder to `report.html`."""

from __future__ import annotations

from pathlib import Path

from mmedpo.report.content import ReportContent
from mmedpo.report.head import head
from mmedpo.report.page import render
from mmedpo.report.section import sections
from mmedpo.report.stored import read_stored
from mmedpo.run import Run
from mmedpo.run.layout import REPORT
from mmedpo.storage.tables import write_text


def write_report(run: Run) -> Path:
    """Writes `report.html` from what is stored in the run; what a recipe did not make is left out.

    Args:
        run: a run; without an evaluation the report claims nothing.

    Raises:
        RunFolderError: a stored file is damaged.
    """
    path = run.file(REPORT)
    write_text(path, render(report_content(run)))
    run.message(f"report: {path}")
    return path


def report_content(run: Run) -> ReportContent:
    """Everything the report says of a run: whatever the registered sections have to say."""
    stored = read_stored(run)
    models = stored.evaluation.models if stored.evaluation else ()
    gathered = {name: section.gather(run, stored) for name, section in sections().items()}
    compared = f"{models[0]} against {models[-1]} model" if models else "not evaluated yet"
    return ReportContent(
        title=f"{run.path.name}: {compared}",
        head=head(run, stored),
        caveats=(*stored.settings.caveats, *stored.data.notes),
        parts={name: part for name, part in gathered.items() if part is not None},
    )
