"""`mmedpo train` on two processes: what it needs, and that being killed changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mmedpo import load_settings, open_run, run_stages

SMALL = [
    "data.phantom.train_images=6",
    "data.phantom.validation_images=3",
    "data.phantom.test_images=3",
    "train.epochs=2",
    "train.batch_groups=4",
    "train.checkpoint_every=3",
    "train.watch.every=4",
    "train.watch.questions=12",
]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def scored(folder: Path) -> Path:
    with open_run(folder, load_settings("phantom-mmedpo", SMALL)) as run:
        run_stages(run, until="score")
    return folder


def start(folder: Path, *launcher: str) -> subprocess.Popen:
    command = [sys.executable, *launcher, "-m", "mmedpo", "train", str(folder)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def adapter(folder: Path) -> bytes:
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.long
def test_two_processes_killed_again_and_again_end_with_the_same_bytes(tmp_path):
    whole = scored(tmp_path / "whole")
    killed = Path(shutil.copytree(whole, tmp_path / "killed"))
    process = start(whole, *TORCHRUN)
    assert process.wait(timeout=240) == 0, (tmp_path / "whole.log").read_text()
    kills = 0
    for attempt in range(20):
        process = start(killed, *TORCHRUN)
        deadline = time.monotonic() + 6 + attempt
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is not None:
            assert process.returncode == 0, (tmp_path / "killed.log").read_text()
            break
        # torchrun starts its workers in sessions of their own: a power cut would end them all.
        for victim in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            victim.kill()
        process.wait()
        kills += 1
    assert kills > 0
    assert adapter(killed) == adapter(whole)
    assert json.loads((killed / "train/log.json").read_text()) == json.loads((whole / "train/log.json").read_text())


def test_only_training_is_started_as_several_processes(tmp_path):
    together = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    environment = {**os.environ, **together}
    for command in (["run", "phantom-mmedpo"], ["curate", str(tmp_path)], ["evaluate", str(tmp_path)]):
        result = subprocess.run(
            [sys.executable, "-m", "mmedpo", *command], env=environment, capture_output=True, text=True, cwd=tmp_path
        )
        assert result.returncode == 2
        assert "was started as 2 processes, but only `mmedpo train RUN` shares its work" in result.stderr
        assert not (tmp_path / "runs").exists()
