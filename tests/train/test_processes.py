"""Several processes, started by torchrun, against one: the same gradients, the same files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

TESTS = Path(__file__).resolve().parents[1]


def _path() -> str:
    """The tests, and whatever this process itself was told to import from."""
    return os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


def run(*arguments: str, processes: int = 1, cwd: Path = TESTS) -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
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


@pytest.mark.parametrize(("loss", "accumulation"), [("sigmoid", 1), ("anchor", 2)])
def test_two_processes_have_the_gradients_of_one(tmp_path, loss, accumulation):
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    run("train.gradients_of_steps", str(one), "2", str(accumulation), loss)
    run("train.gradients_of_steps", str(two), "1", str(accumulation), loss, processes=2)
    expected, found = load_file(one), load_file(two)
    assert found.keys() == expected.keys()
    assert len({name.split("/")[0] for name in expected}) == {1: 5, 2: 3}[accumulation]
    scale = max(float(tensor.abs().max()) for name, tensor in expected.items() if name != "losses")
    assert scale > 1e-3
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_accumulation_and_bins_do_not_change_the_gradient_of_a_step(tmp_path):
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    run("train.gradients_of_steps", str(whole), "4", "1", "sigmoid")
    run("train.gradients_of_steps", str(parts), "2", "2", "sigmoid")
    expected, found = load_file(whole), load_file(parts)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)
