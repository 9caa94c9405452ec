"""`mmedpo train` on two processes: what it needs, and that being killed changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load

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
FSDP2 = [
    *("-m", "accelerate.commands.launch", "--num_processes", "2", "--config_file"),
    str(Path(__file__).resolve().parents[2] / "examples" / "launch" / "fsdp2.yaml"),
]


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


def finish(process: subprocess.Popen, folder: Path) -> None:
    assert process.wait(timeout=600) == 0, (folder.parent / f"{folder.name}.log").read_text()


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    """The processes that train, by rank."""
    below = psutil.Process(process.pid).children(recursive=True)
    found = [(one, one.environ().get("RANK")) for one in below if "mmedpo" in one.cmdline()]
    return [one for one, rank in sorted(found, key=lambda item: str(item[1])) if rank is not None]


def complete(folder: Path) -> set[str]:
    """The checkpoints that are whole."""
    return {path.parent.name for path in folder.glob(".work/train/checkpoints/*/complete")}


def until_a_checkpoint(process: subprocess.Popen, folder: Path) -> None:
    """Waits for one more checkpoint that is whole."""
    before = complete(folder)
    while not complete(folder) - before:
        assert process.poll() is None, (folder.parent / f"{folder.name}.log").read_text()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is scored."""
    return scored(tmp_path_factory.mktemp("prepared") / "run")


@pytest.fixture(scope="module")
def trained(prepared: Path) -> Path:
    """The same, trained by two processes without a break."""
    folder = Path(shutil.copytree(prepared, prepared.parent / "trained"))
    finish(start(folder, *TORCHRUN), folder)
    return folder


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("launcher", [TORCHRUN, FSDP2], ids=["ddp", "fsdp2"])
def test_two_processes_killed_again_and_again_end_with_the_same_bytes(prepared, tmp_path, launcher):
    whole, killed = (Path(shutil.copytree(prepared, tmp_path / name)) for name in ("whole", "killed"))
    finish(start(whole, *launcher), whole)
    for kill in range(3):
        process = start(killed, *launcher)
        until_a_checkpoint(process, killed)
        time.sleep(0.3 * kill)
        # torchrun starts its workers in sessions of their own: a power cut would end them all.
        for victim in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            victim.kill()
        process.wait()
    finish(start(killed, *launcher), killed)
    assert "resuming from checkpoint-" in (tmp_path / "killed.log").read_text()
    assert adapter(killed) == adapter(whole)
    assert json.loads((killed / "train/log.json").read_text()) == json.loads((whole / "train/log.json").read_text())


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_an_adapter_trained_with_split_weights_is_saved_whole(prepared, trained, tmp_path):
    split = Path(shutil.copytree(prepared, tmp_path / "split"))
    finish(start(split, *FSDP2), split)
    expected, found = load(adapter(trained)), load(adapter(split))
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in expected.items()}
    apart = torch.cat([(found[name] - value).flatten() for name, value in expected.items()]).norm()
    assert float(apart) < 1e-3 * float(torch.cat([value.flatten() for value in expected.values()]).norm())


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_starts_anew_when_a_process_dies_and_the_end_is_the_same(prepared, trained, tmp_path, rank):
    folder = Path(shutil.copytree(prepared, tmp_path / "elastic"))
    process = start(folder, *TORCHRUN, "--max-restarts=2")
    until_a_checkpoint(process, folder)
    workers(process)[rank].kill()
    finish(process, folder)
    assert "resuming from checkpoint-" in (tmp_path / "elastic.log").read_text()
    assert adapter(folder) == adapter(trained)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_nodes_end_with_the_bytes_of_one(prepared, trained, tmp_path):
    """Two agents of torchrun, each with a process, that meet at an address."""
    folder = Path(shutil.copytree(prepared, tmp_path / "nodes"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={address}", "--rdzv-id=job"]
    node = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc_per_node=1", *meeting]
    first, second = start(folder, *node), start(folder, *node)
    finish(first, folder)
    finish(second, folder)
    assert adapter(folder) == adapter(trained)


@pytest.mark.long
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
