"""A table from its arms to its page, each arm a run of its own: one round, three rounds, after fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmedpo.pipeline.grid import run_table
from mmedpo.pipeline.tables import load_table, study
from mmedpo.progress import Silent

TABLE = """
description: Arms that train in every way there is.
seeds: [0, 1]
selection_seed: 0
learning_rates: [1.0e-3]
arms: {one round: dpo, three rounds: fisao, after fine-tuning: dpo-after-sft}
own: {after fine-tuning: [finetune.epochs=2]}
settings:
  - data.phantom.train_images=4
  - data.phantom.validation_images=2
  - data.phantom.test_images=4
  - train.epochs=1
  - train.watch.questions=8
  - evaluate.splits=[test]
  - evaluate.answer_types=[closed]
  - evaluate.bootstrap_samples=100
"""


@pytest.mark.long
def test_arms_of_several_rounds_and_of_fine_tuning_stand_in_one_table(tmp_path: Path) -> None:
    (tmp_path / "ways.yaml").write_text(TABLE)
    table = study(str(tmp_path / "ways.yaml"), "phantom", False, [])
    page = run_table(table, tmp_path / "runs", tmp_path / "out", 2, Silent())
    cost = {one["arm"]: one for one in json.loads(page.with_suffix(".json").read_text())["cost"]}
    assert [(cost[arm]["before"], cost[arm]["passes"]) for arm in load_table(str(tmp_path / "ways.yaml")).arms] == [
        (0, 1),
        (0, 3),
        (2, 1),
    ]
    assert all(f"| {arm} |" in page.read_text() for arm in cost)
