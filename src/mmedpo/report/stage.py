"""The `report` stage: one page from what the run holds. What is not there is left out."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmedpo.config import RunSettings
from mmedpo.report.gather import write_report
from mmedpo.report.section import files_of, sections
from mmedpo.run import BASE, TUNED, Stage
from mmedpo.run.layout import (
    CANDIDATES,
    CURATED,
    DATA_NOTES,
    DEBATES,
    DROPS,
    EVALUATION,
    EXAMPLES,
    GROUNDINGS,
    HEATMAPS,
    IMAGES,
    JUDGED,
    PAIRS,
    PROBES,
    REPORT,
    SCORES,
    TRAINING,
    VERDICTS,
    WEIGHTS,
    predictions_of,
)
from mmedpo.run.slots import round_folder
from mmedpo.storage.files import hash_path

TABLES = (
    EXAMPLES,
    DATA_NOTES,
    GROUNDINGS,
    HEATMAPS,
    CANDIDATES,
    VERDICTS,
    IMAGES,
    CURATED,
    PAIRS,
    DEBATES,
    WEIGHTS,
    TRAINING,
    EVALUATION,
    SCORES,
    JUDGED,
    PROBES,
    DROPS,
)
"""What the page is made from, beside the answers."""


def stage(settings: RunSettings) -> Stage:
    """What the report is made from: all settings, all tables that are there, and the code that draws it."""
    content = {"settings": settings.model_dump(mode="json"), "code": _code()}
    answers = tuple(predictions_of(model) for model in (*settings.evaluate.answers, BASE, TUNED))
    rounds = range(1, settings.rounds + 1) if settings.rounds > 1 else ()
    of_rounds = tuple(f"{round_folder(number)}/{name}" for number in rounds for name in (TRAINING, PAIRS))
    return Stage("report", write_report, content, optional=(*TABLES, *answers, *of_rounds), writes=(REPORT,))


def _code() -> str:
    """Hash of everything that shapes the page, sections from outside included, so that a change renders anew."""
    ours = [file for file in Path(__file__).parent.rglob("*") if file.suffix in {".py", ".j2", ".css"}]
    theirs = [file for section in sections().values() for file in files_of(section)]
    files = sorted({*ours, *theirs})
    return hashlib.sha256("".join(hash_path(file) for file in files).encode()).hexdigest()
