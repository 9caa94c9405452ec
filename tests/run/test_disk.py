"""Whatever a library makes of a refusal of the operating system, the user reads one line that says what was refused."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError, RunFolderError
from mmedpo.run import Run, Stage, open_run
from mmedpo.run.disk import UNUSABLE, trouble
from mmedpo.storage.tables import write_text


def raising(error: Exception) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        raise error

    return work


@pytest.mark.parametrize("number", sorted(UNUSABLE))
def test_every_refusal_has_words_and_keeps_the_run(tmp_path: Path, number: int) -> None:
    def good(run: Run) -> None:
        write_text(run.file("x"), "done")

    with open_run(tmp_path / "r", RunSettings()) as run:
        run.execute(Stage("s", good, {}, writes=("x",)))
        bad = Stage("s", raising(OSError(number, os.strerror(number), "/disk/file")), {"other": 1}, writes=("x",))
        with pytest.raises(RunFolderError, match=f"/disk/file cannot be used: {UNUSABLE[number]}"):
            run.execute(bad)
        assert run.file("x").read_text() == "done"


@pytest.mark.parametrize(
    "error",
    [
        OSError("30000 requested and 0 written"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        RuntimeError(f"[enforce fail at inline_container.cc] {os.strerror(errno.ENOSPC)}"),
        sqlite3.OperationalError(f"disk I/O error: {os.strerror(errno.EIO)}"),
    ],
)
def test_libraries_wrap_what_they_are_told(tmp_path: Path, error: Exception) -> None:
    assert isinstance(trouble(error, tmp_path), RunFolderError)


def test_a_refusal_that_says_no_number_is_found_out_by_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy says how much it could not write, and not why."""
    error = OSError("30000 requested and 0 written")
    assert "could not be read or written whole" in str(trouble(error, tmp_path)), "the disk has room again"

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("mmedpo.run.disk._try", full)
    assert "no space left" in str(trouble(error, tmp_path))


def test_an_error_caused_by_a_refusal_is_one(tmp_path: Path) -> None:
    error = RuntimeError("the writer failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert "no space left" in str(trouble(error, tmp_path))


def test_a_folder_that_vanished_is_told(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", RunSettings()) as run:

        def work(run: Run) -> None:
            shutil.rmtree(run.path)
            np.save(run.path / "x.npy", np.zeros(3))

        with pytest.raises(RunFolderError, match="is gone; bring it back"):
            run.execute(Stage("s", work, {}))


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), OSError(errno.EINVAL, "an argument"), KeyError("x")])
def test_a_fault_of_ours_keeps_its_traceback(tmp_path: Path, error: Exception) -> None:
    assert trouble(error, tmp_path) is None


def test_an_error_in_our_terms_is_left_as_it_is(tmp_path: Path) -> None:
    with open_run(tmp_path / "r", RunSettings()) as run, pytest.raises(ConfigError, match="mine"):
        run.execute(Stage("s", raising(ConfigError("mine")), {}))
