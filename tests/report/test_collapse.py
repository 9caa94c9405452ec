"""A run whose training collapses ends with an error, and with a report that says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmedpo.cli.main import app
from mmedpo.config import RunSettings
from mmedpo.errors import TrainingCollapsed
from mmedpo.pipeline import plan as composed
from mmedpo.report.stage import stage as report_stage
from mmedpo.run import Run, Stage, open_run
from mmedpo.run.layout import LOG, REPORT, TRAINING
from mmedpo.storage.tables import write_text
from report.finished_run import preference_log
from report.test_render import Page

FALLEN = {"probe_score": 0.2, "probe_logprob_per_token": -4.0, "step": 50}


def collapses(run: Run) -> None:
    write_text(run.file(LOG), json.dumps([*preference_log(), FALLEN]))
    raise TrainingCollapsed("at step 50 the validation probe fell; training stopped. Lower train.learning_rate")


def finishes(run: Run) -> None:
    write_text(run.file(LOG), json.dumps(preference_log()))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Stage]:
    """Training that collapses, and the report: the stages of every run of the test."""
    found = [Stage("train", collapses, {}, writes=(TRAINING,))]
    monkeypatch.setattr(composed, "plan", lambda settings: [*found, report_stage(settings)])
    return found


def collapsed(folder: Path, settings: RunSettings | None = None) -> None:
    with open_run(folder, settings or RunSettings()) as run, pytest.raises(TrainingCollapsed, match="at step 50"):
        composed.run_stages(run)


def words(folder: Path) -> str:
    return Page((folder / REPORT).read_text()).text


def test_the_report_is_written_before_the_error_ends_the_run(stages: list[Stage], tmp_path: Path) -> None:
    collapsed(tmp_path / "run")
    text = words(tmp_path / "run")
    assert "Training stopped at step 50 without a tuned model: it collapsed or was interrupted." in text
    assert "The validation probe stood at 40.0 % at the start and at 20.0 % at the end." in text
    assert "best, step 20" in (tmp_path / "run" / REPORT).read_text(), "the curves are there to be looked at"
    assert "rose" not in text


def test_the_report_can_be_asked_for_again(stages: list[Stage], tmp_path: Path) -> None:
    collapsed(tmp_path / "run")
    (tmp_path / "run" / REPORT).unlink()
    done = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "Training stopped at step 50" in words(tmp_path / "run")


def test_a_collapse_does_not_take_an_earlier_result_away(stages: list[Stage], tmp_path: Path) -> None:
    failing = stages[0]
    stages[0] = Stage("train", finishes, {"rate": 1}, writes=(TRAINING,))
    with open_run(tmp_path / "run", RunSettings()) as run:
        composed.run_stages(run)
    before = (tmp_path / "run" / REPORT).read_bytes()
    stages[0] = failing
    # A page of the earlier result under the settings of the later one would be neither.
    collapsed(tmp_path / "run", RunSettings(seed=3))
    assert (tmp_path / "run" / REPORT).read_bytes() == before
    assert json.loads((tmp_path / "run" / LOG).read_text()) == preference_log()
