"""Several processes, started by torchrun, against one: the same gradients, the same files."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train.gradients_of_steps import write_gradients

TESTS = Path(__file__).resolve().parents[1]


def _path() -> str:
    """The tests, and whatever this process itself was told to import from."""
    return os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def run_on(number: int, *arguments: str, config: str = "", cwd: Path = TESTS) -> None:
    """Starts a module as several processes: by torchrun, or by accelerate with a configuration that ships."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={number}"]
    if config:
        file = str(TESTS.parent / "examples" / "launch" / config)
        launcher = ["-m", "accelerate.commands.launch", "--config_file", file, "--num_processes", str(number)]
    environment = {**os.environ, "PYTHONPATH": _path(), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [sys.executable, *launcher, "-m", *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.parametrize(
    ("loss", "accumulation", "number", "config"),
    [
        ("anchor", 2, 2, ""),
        pytest.param("sigmoid", 1, 2, "", marks=pytest.mark.long),
        pytest.param("sigmoid", 1, 4, "", marks=pytest.mark.long),
        pytest.param("anchor", 2, 2, "fsdp2.yaml", marks=pytest.mark.long),
        pytest.param("token-kl", 1, 2, "fsdp2.yaml", marks=pytest.mark.long),
        pytest.param("sigmoid", 1, 4, "fsdp2.yaml", marks=pytest.mark.long),
        pytest.param("anchor", 2, 2, "zero3.yaml", marks=pytest.mark.long),
    ],
)
def test_several_processes_have_the_losses_and_gradients_of_one(tmp_path, loss, accumulation, number, config):
    if config == "zero3.yaml" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("needs DeepSpeed: DS_BUILD_OPS=0 pip install deepspeed")
    one, several = tmp_path / "one.safetensors", tmp_path / "several.safetensors"
    write_gradients(one, number, accumulation, loss)
    run_on(number, "train.gradients_of_steps", str(several), "1", str(accumulation), loss, config=config)
    expected, found = load_file(one), load_file(several)
    assert bool(found.pop("split")) == bool(config)
    assert not expected.pop("split")
    assert found.keys() == expected.keys()
    steps = {name.split("/")[0] for name in expected} - {"losses"}
    assert len(steps) == -(-7 // (number * accumulation))
    scale = max(float(tensor.abs().max()) for name, tensor in expected.items() if name != "losses")
    assert scale > 1e-3
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_accumulation_and_bins_do_not_change_the_gradient_of_a_step(tmp_path):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    write_gradients(whole, 4, 1, "sigmoid")
    write_gradients(parts, 2, 2, "sigmoid")
    expected, found = load_file(whole), load_file(parts)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
