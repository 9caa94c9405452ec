"""The table of one GPU: its twin on a CPU, what is left when time is up, and FlexAttention against slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import gpu
from bench.throughput.flex_side import FlexTrieAttention
from bench.throughput.measure import Case, Measured
from bench.throughput.models import SHAPES, build_checkpoint
from bench.throughput.side import SideResult, run_side
from mmedpo.engine.attention import Scores, TrieAttention
from mmedpo.engine.branches import Branch
from mmedpo.engine.layout import Layout, lay_out

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # TRL sets what transformers deprecates.
needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed; `make bench` installs it")


@needs_trl
@pytest.mark.parametrize("name", ["test-qwen2.5-vl", "test-gemma3"])
def test_other_architectures_have_the_losses_of_trl(tmp_path: Path, name: str) -> None:
    case = next(case for _, _, case, _ in gpu.cases("test", "cpu", 2) if case.shape == name)
    folder = build_checkpoint(SHAPES[name], tmp_path, device="cpu")
    options = replace(case.options, learning_rate=1e-2)
    losses = [
        run_side(side, folder, case.workload, steps=2, checkpointing=False, device="cpu", options=options).losses
        for side in ("ours", "trl")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert abs(losses[0][0] - losses[0][1]) > 1e-3


def _measured_as(seconds: float, calls: list[tuple[str, str]]) -> Any:
    def measure(case: Case, sides: Sequence[str], **_: Any) -> Measured:
        calls.append((case.key, *sides))
        if sides[0] == "trl" and case.options.quantised:
            return Measured(case, failures={"trl": "out of memory"})
        once = 2.0 if sides[0] == "trl" else 0.5
        run = SideResult([0.7, 0.6], [9.0, seconds * once], [600, 600], 0.0, 2**31, 2**30, "", {"GPU": "NVIDIA H100"})
        return Measured(case, {sides[0]: [run]})

    return measure


def test_rows_are_kept_and_begun_again_where_time_was_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []
    monkeypatch.setattr(gpu, "build_checkpoint", lambda shape, folder, device: folder)
    monkeypatch.setattr(gpu, "measure", _measured_as(1.0, calls))
    command = [
        "--shape",
        "test",
        "--device",
        "cpu",
        "--steps",
        "2",
        "--checkpoints",
        str(tmp_path),
        "--out",
        str(tmp_path),
    ]
    gpu.main([*command, "--minutes", "0"])
    assert not calls
    assert gpu.TOLD in (tmp_path / "GPU.md").read_text()
    gpu.main(command)
    gpu.main(command)
    every = [(case.key, side) for _, _, case, sides in gpu.cases("test", "cpu", 2) for side in sides]
    assert sorted(calls) == sorted(every)
    page = (tmp_path / "GPU.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and " | setting | " not in line]
    assert len(rows) == len(every) == 18
    assert "| LLaVA | LoRA | mmedpo | 0.50 | 8.00 | 4.0 x | 1,200 |" in page, "4 pairs in half a second, TRL takes two"
    assert sum("out of memory" in row for row in rows) == 3, "what failed says why"


def test_a_page_of_no_gpu_says_so() -> None:
    page = Path(gpu.ROOT / "bench" / "GPU.md").read_text()
    assert (gpu.TOLD in page) != ("| GPU" in page or "H100" in page or "A100" in page)


def _layout() -> Layout:
    """Two images; on one, two questions with two answers each, on the other one question."""
    branches = []
    for image, questions in (("a", ((5, 6), (7, 8))), ("b", ((5, 6),))):
        for question in questions:
            for answer in ((11, 12, 13), (14, 15)):
                branches.append(Branch((Path(image),), (1, 1, 1, 1, *question), (*answer, 2)))
    return lay_out(branches, lambda branch: [np.arange(4)], pairs_per_token=1.0)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("window", [None, 4])
def test_flex_attention_is_what_slices_are(window: int | None) -> None:
    layout = _layout()
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, layout.columns, 16) for heads in (4, 2, 2))
    scores = Scores(None, None, 0.0)
    found = [
        attention(layout, torch.device("cpu"), torch.float32)(0, query, key, value, window, scores)
        for attention in (FlexTrieAttention, TrieAttention)
    ]
    assert torch.allclose(found[0], found[1], atol=1e-5)


@needs_trl
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_twin_on_a_cpu(tmp_path: Path) -> None:
    command = ["--shape", "test", "--device", "cpu", "--steps", "2", "--threads", "1", "--minutes", "30"]
    gpu.main([*command, "--checkpoints", str(tmp_path / "models"), "--out", str(tmp_path)])
    page = (tmp_path / "GPU.md").read_text()
    # One row in 4 bits a model and side needs bitsandbytes; it says so where there is none.
    assert page.count("| yes |") == (9 if find_spec("bitsandbytes") else 6)
