"""From data to report on a tiny slice, with a small checkpoint of each family in place of the shipped model."""

from __future__ import annotations

import json

import pytest

from mmedpo import load_settings, open_run, run_stages
from models.zoo.checkpoints import ZOO

SLICE = [
    "data.phantom.train_images=6",
    "data.phantom.validation_images=3",
    "data.phantom.test_images=3",
    "model.device=cpu",
    "engine.packing=strict",
    "curate.max_new_tokens=4",
    "train.epochs=1",
    "train.learning_rate=1e-6",
    "train.max_length=2048",
    "train.watch.every=4",
    "train.watch.questions=6",
    "train.watch.collapse_drop=0.001",
    "evaluate.max_new_tokens=4",
    "evaluate.bootstrap_samples=200",
    "evaluate.probes.lesion-reliance.images=3",
    "evaluate.probes.attention.questions=2",
]


@pytest.mark.long
@pytest.mark.parametrize("kind", ZOO)
def test_a_run_goes_from_data_to_report(kind, zoo_folder, tmp_path):
    settings = load_settings("phantom-mmedpo", [f"model.name={zoo_folder(kind)}", *SLICE])
    with open_run(tmp_path / "run", settings) as run:
        run_stages(run)
    assert (tmp_path / "run" / "report.html").exists()
    steps = json.loads((tmp_path / "run" / "train" / "log.json").read_text())
    assert any("loss" in step for step in steps)
