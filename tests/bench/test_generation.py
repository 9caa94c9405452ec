"""The benchmark of decoding: both sides give the same answers, and the counts are those of the shapes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import generation
from bench.throughput.models import SHAPES

SHAPE = SHAPES["test"]


def test_the_page_says_what_both_sides_did(tmp_path: Path) -> None:
    out = tmp_path / "GENERATION.md"
    options = ["--shape", "test", "--rounds", "1", "--tasks", "SLAKE-shaped, 3", "--checkpoints", str(tmp_path)]
    generation.main([*options, "--out", str(out)])
    (row,) = [line for line in out.read_text().splitlines() if line.startswith("| SLAKE")]
    stock = 22 * 3 * (SHAPE.image_tokens + 40)
    shared = 2 * (SHAPE.image_tokens + 11 * 40)
    fed, read = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) -> ([\d,]+) \(", row)[0])
    assert fed == stock
    # An image as short as this one is cheaper repeated for some questions than shared by all.
    assert shared <= read <= shared + 22 * SHAPE.image_tokens
    assert row.endswith("| 66 of 66 |")
    assert "python -m bench.generation --shape test --rounds 1 --tasks 'SLAKE-shaped, 3'" in out.read_text()


def test_arithmetic_is_that_of_the_shape() -> None:
    counts = generation.Counts(prompts=3, answers=2, pairs=10, images=1)
    language = 2 * SHAPE.frozen_weights * 5 + 4 * 32 * 2 * 10
    tower = 2 * 2 * (4 * 16 * 16 + 2 * 16 * 32) * SHAPE.image_tokens
    assert counts.flops(SHAPE) == pytest.approx(language + tower)
