"""Only processes that were launched together share a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError, RunFolderError
from mmedpo.run import join_run, open_run, opening
from mmedpo.run.processes import launch

TOGETHER = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "x"}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "OMPI_COMM_WORLD_SIZE", *TOGETHER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(opening, "PATIENCE", 0.3)


def started(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "variables",
    [
        {"RANK": "1"},
        {"RANK": "1", "WORLD_SIZE": "1"},
        {"RANK": "1", "WORLD_SIZE": "2"},
        {"RANK": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    ],
)
def test_a_leftover_of_the_environment_makes_no_sibling(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    started(monkeypatch, **variables)
    assert (launch().rank, launch().size) == (0, 1)


def test_a_run_of_a_process_alone_hides_a_launchers_leftovers_from_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started(monkeypatch, RANK="1", WORLD_SIZE="2", LOCAL_RANK="3", OMPI_COMM_WORLD_SIZE="4")
    with open_run(tmp_path / "r", RunSettings()):
        # What accelerate asks, and what a device is chosen by.
        assert not os.environ.keys() & {"RANK", "WORLD_SIZE", "LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"}


def test_a_run_of_launched_processes_leaves_their_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, **TOGETHER, RANK="0", LOCAL_RANK="0")
    with open_run(tmp_path / "r", RunSettings()):
        assert (os.environ["WORLD_SIZE"], os.environ["LOCAL_RANK"]) == ("2", "0")


@pytest.mark.parametrize("variables", [{"RANK": "one"}, {"RANK": "-1"}, {"RANK": "2"}, {"WORLD_SIZE": "9" * 5000}])
def test_variables_that_cannot_be_are_refused_in_one_short_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    started(monkeypatch, **TOGETHER, **{"RANK": "0"})
    started(monkeypatch, **variables)
    with pytest.raises(ConfigError) as caught:
        launch()
    assert len(str(caught.value)) < 200


def test_a_sibling_of_another_launch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started(monkeypatch, **TOGETHER, RANK="0")
    with open_run(tmp_path / "r", RunSettings()):
        started(monkeypatch, RANK="1")
        assert join_run(tmp_path / "r").rank == 1
        started(monkeypatch, TORCHELASTIC_RUN_ID="y")
        with pytest.raises(RunFolderError, match="not held by process 0 of this launch"):
            join_run(tmp_path / "r")


def test_a_sibling_waits_for_process_0_and_does_not_work_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(tmp_path / "r", RunSettings()):
        pass
    started(monkeypatch, **TOGETHER, RANK="1")
    with pytest.raises(RunFolderError, match="not held by process 0"):
        join_run(tmp_path / "r")
