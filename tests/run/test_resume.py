"""Runs that are killed for real: they go on at their chunk, keep what was there, and hold their lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mmedpo.config import RunSettings
from mmedpo.errors import RunFolderError
from mmedpo.records import Drop
from mmedpo.run import Run, Stage, open_run, read_run
from mmedpo.storage.tables import read_table, write_text
from run import killed_stage
from small_stages import execute


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r"


# Chunks, killed and resumed.


def _start(path: Path, setting: str, hang_at: int) -> subprocess.Popen[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).resolve().parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, str(Path(__file__).with_name("killed_stage.py")), str(path), setting, str(hang_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _kill_in_the_middle(path: Path, setting: str, hang_at: int) -> None:
    with _start(path, setting, hang_at) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def _computed(path: Path) -> list[str]:
    log = path.parent / "computed"
    chunks = log.read_text().split()
    log.unlink()
    return chunks


def test_a_killed_stage_goes_on_at_its_chunk_and_gives_the_same_table(run_path: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "r"
    killed_stage.execute(whole, "a")
    _kill_in_the_middle(run_path, "a", hang_at=6)
    assert not run_path.joinpath("t.parquet").exists()
    assert _computed(run_path) == ["0", "3"]
    killed_stage.execute(run_path, "a")
    assert _computed(run_path) == ["6", "9"]
    assert run_path.joinpath("t.parquet").read_bytes() == whole.joinpath("t.parquet").read_bytes()
    assert not list(run_path.joinpath(".work").iterdir()), "finished work is cleared away"


def test_work_of_other_settings_is_thrown_away(run_path: Path) -> None:
    _kill_in_the_middle(run_path, "a", hang_at=6)
    _computed(run_path)
    killed_stage.execute(run_path, "b")
    assert _computed(run_path) == ["0", "3", "6", "9"]
    assert {drop.reason for drop in read_table(run_path / "t.parquet", Drop)} == {"b"}


def test_a_stage_killed_while_it_replaces_its_outputs_gives_the_old_ones_back(run_path: Path) -> None:
    killed_stage.execute(run_path, "a")
    _kill_in_the_middle(run_path, "b", hang_at=3)
    _computed(run_path)
    killed_stage.execute(run_path, "a")
    assert not run_path.parent.joinpath("computed").exists(), "the old settings are still done"
    assert {drop.reason for drop in read_table(run_path / "t.parquet", Drop)} == {"a"}


class _Progress:
    """A reporter that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def track(self, label: str) -> Callable[[int, int], None]:
        return lambda done, total: self.calls.append((done, total))


def test_a_mark_of_unfinished_work_that_is_no_text_is_other_work(run_path: Path) -> None:
    def work(run: Run) -> None:
        write_text(run.file("x"), "done")

    with open_run(run_path, RunSettings()) as run:
        folder = run_path / ".work" / "s"
        folder.mkdir(parents=True)
        (folder / "fingerprint").write_bytes(b"\xe8\xff")
        assert run.execute(Stage("s", work, {}, writes=("x",)))


def test_progress_of_a_resumed_stage_starts_at_what_was_there(run_path: Path) -> None:
    def stage(fail_at: int) -> Stage:
        def chunk(items: Sequence[Any]) -> list[Drop]:
            if items[0] == fail_at:
                raise RuntimeError
            return [Drop(stage="s", item=str(item), reason="r") for item in items]

        def work(run: Run) -> None:
            run.write("t", Drop, run.map("x", range(5), 2, lambda: chunk, Drop))

        return Stage("s", work, {}, (), ("t",))

    with pytest.raises(RuntimeError):
        execute(run_path, [stage(4)])
    reporter = _Progress()
    with open_run(run_path, RunSettings(), reporter) as run:
        run.execute(stage(-1))
        assert [drop.item for drop in run.read("t", Drop)] == ["0", "1", "2", "3", "4"]
    assert reporter.calls == [(4, 5), (5, 5)]


def test_every_line_of_a_stage_names_it(run_path: Path) -> None:
    reporter = _Progress()
    with open_run(run_path, RunSettings(), reporter) as run:
        run.execute(Stage("talk", lambda run: run.message("hello"), {}))
        run.message("and now")
    assert reporter.messages[0] == "[talk] hello"
    assert reporter.messages[-1] == "[r] and now"


# Lock.


def test_a_second_process_is_refused_and_told_who_has_the_run(run_path: Path) -> None:
    with _start(run_path, "a", hang_at=0) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(RunFolderError, match=f"in use by process {process.pid} on "), open_run(run_path):
                pass
            assert read_run(run_path).manifest.stages == {}, "looking at a running run is allowed"
        finally:
            process.kill()
            process.wait(30)
    with open_run(run_path) as run:
        assert run.manifest.stages == {}, "the lock of a dead process does not hold"


def test_the_lock_is_free_after_a_failure(run_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), open_run(run_path, RunSettings()):
        raise RuntimeError("boom")
    with open_run(run_path):
        pass
