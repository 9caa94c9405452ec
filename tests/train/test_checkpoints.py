"""A checkpoint of an unfinished training that is damaged, or planted, is one line and runs nothing."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from transformers import TrainerState

from mmedpo.errors import TrainingError
from mmedpo.train.checkpoints import COMPLETE, last_complete_checkpoint, reading


def checkpoint(folder: Path, step: int, *, complete: bool = True, says: int | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    TrainerState(global_step=step if says is None else says).save_to_json(str(path / "trainer_state.json"))
    if complete:
        (path / COMPLETE).touch()
    return path


def test_the_newest_whole_one_is_gone_on_from(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 10)
    checkpoint(tmp_path, 11, complete=False)
    (tmp_path / "checkpoint-x").mkdir()
    (tmp_path / "checkpoint-x" / COMPLETE).touch()
    assert last_complete_checkpoint(tmp_path) == newest


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"global_step": 3}', "\udc80", '{"nobody": 1}'])
def test_a_damaged_state_is_one_line(tmp_path: Path, content: str) -> None:
    path = checkpoint(tmp_path, 4)
    (path / "trainer_state.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(TrainingError, match="checkpoint-4 is damaged .*; delete that folder and run again"):
        last_complete_checkpoint(tmp_path)
    (path / "trainer_state.json").unlink()
    with pytest.raises(TrainingError, match="checkpoint-4 is damaged"):
        last_complete_checkpoint(tmp_path)


class Planted:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.place),)


def test_a_planted_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(Planted(tmp_path / "run"), tmp_path / "optimizer.pt")
    (tmp_path / "rng_state.pth").write_bytes(pickle.dumps(Planted(tmp_path / "run")))
    for name in ("optimizer.pt", "rng_state.pth"):
        with pytest.raises(TrainingError, match="is damaged"), reading(tmp_path):
            torch.load(tmp_path / name, weights_only=True)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), reading(tmp_path):
        raise PermissionError(13, "no")
