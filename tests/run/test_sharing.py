"""Shares of a stage, done beside its lock: the same bytes, each chunk once, and what is left is done by the stage."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError, Paused, RunFolderError
from mmedpo.progress import Silent
from mmedpo.records import Drop
from mmedpo.run import Run, Stage, open_run
from mmedpo.run.sharing import Share, take_share

ITEMS, SIZE = 11, 2
WORKED: list[int] = []


def _worker(run: Run) -> Callable[[Sequence[int]], list[Drop]]:
    def work(items: Sequence[int]) -> list[Drop]:
        WORKED.extend(items)
        return [Drop(stage="s", item=str(item), reason="r") for item in items]

    return work


def _work(run: Run) -> None:
    run.write("out.parquet", Drop, run.map("some items", range(ITEMS), SIZE, partial(_worker, run), Drop))


STAGE = Stage("s", _work, {}, writes=("out.parquet",))


def _share(folder: Path, number: int, of: int) -> str:
    with pytest.raises(Paused) as ended:
        take_share(folder, STAGE, Share(number, of), Silent())
    return str(ended.value)


def _execute(folder: Path) -> bytes:
    with open_run(folder, RunSettings()) as run:
        run.execute(STAGE)
    return (folder / "out.parquet").read_bytes()


@settings(max_examples=5, deadline=None)
@given(of=st.integers(1, 8), data=st.data())
def test_whichever_shares_were_done_the_stage_does_the_rest(
    of: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("r")
    whole = _execute(folder / "whole")
    WORKED.clear()
    with open_run(folder / "r", RunSettings()):
        pass
    done = data.draw(st.lists(st.integers(0, of - 1), unique=True))
    for number in done:
        _share(folder / "r", number, of)
        before = len(WORKED)
        _share(folder / "r", number, of)  # submitted again: nothing is left of it
        assert len(WORKED) == before
    if len(done) == of:
        assert sorted(WORKED) == list(range(ITEMS))
    assert _execute(folder / "r") == whole
    assert sorted(WORKED) == list(range(ITEMS))


def test_a_share_leaves_no_output_and_needs_no_lock_while_it_works(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    with open_run(folder, RunSettings()):
        pass

    def beside(run: Run) -> None:
        with open_run(folder, RunSettings()):  # another process may look, and hold the lock
            _work(run)

    with pytest.raises(Paused, match="share 0 of 2 is done: 3 of 6 chunks of some items"):
        take_share(folder, Stage("s", beside, {}, writes=("out.parquet",)), Share(0, 2), Silent())
    assert not (folder / "out.parquet").exists()


def test_what_a_share_does_not_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "r"
    _execute(folder)
    assert "s is done already" in _share(folder, 0, 2)
    changed = Stage("s", _work, {"more": 1}, writes=("out.parquet",))
    with pytest.raises(Paused, match="done anew, and so by one job alone"):
        take_share(folder, changed, Share(0, 2), Silent())
    assert (folder / "out.parquet").exists()
    with pytest.raises(ConfigError, match="share 2 of 2: shares are counted from 0 to 1"):
        Share(2, 2)
    with pytest.raises(RunFolderError, match="reads in.parquet"):
        take_share(folder, Stage("t", _work, {}, reads=("in.parquet",)), Share(0, 2), Silent())
    monkeypatch.setattr("mmedpo.run.sharing.PATIENCE", 0.1)
    with open_run(folder, RunSettings()), pytest.raises(RunFolderError, match="in use"):
        take_share(folder, STAGE, Share(0, 2), Silent())
    shutil.rmtree(folder)
    with pytest.raises(RunFolderError):
        take_share(folder, STAGE, Share(0, 2), Silent())
