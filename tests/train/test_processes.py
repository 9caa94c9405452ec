"""Several processes, started by torchrun, against one: the same gradients, the same files."""

from __future__ import annotations

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


def run_on_two(*arguments: str, cwd: Path = TESTS) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
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


@pytest.mark.parametrize(("loss", "accumulation"), [pytest.param("sigmoid", 1, marks=pytest.mark.long), ("anchor", 2)])
def test_two_processes_have_the_gradients_of_one(tmp_path, loss, accumulation):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    write_gradients(one, 2, accumulation, loss)
    run_on_two("train.gradients_of_steps", str(two), "1", str(accumulation), loss)
    expected, found = load_file(one), load_file(two)
    assert found.keys() == expected.keys()
    assert len({name.split("/")[0] for name in expected}) == {1: 5, 2: 3}[accumulation]
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
