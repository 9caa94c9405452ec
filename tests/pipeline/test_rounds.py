"""Two rounds of the loop for real: the second samples, refers to and adds to the model of the first."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from mmedpo.config import validate_settings
from mmedpo.models.slots import load_slot, load_start
from mmedpo.pipeline.plan import run_stages
from mmedpo.records import PreferencePair
from mmedpo.run import TUNED, Run, open_run

RECIPE = {
    "rounds": 2,
    "data": {"phantom": {"train_images": 4, "validation_images": 2, "test_images": 2}},
    "model": {"device": "cpu"},
    "curate": {"kinds": ["text"], "candidates": 2, "max_new_tokens": 4},
    "train": {
        "beta": 1.0,
        "epochs": 1,
        "learning_rate": 2e-3,
        "lora": {"rank": 2, "alpha": 4},
        "watch": {"questions": 4, "every": 50, "collapse_drop": 0.001, "collapse_logprob": 100.0},
    },
    "evaluate": {
        "splits": ["test"],
        "max_new_tokens": 4,
        "bootstrap_samples": 100,
        "probes": {"lesion-reliance": None, "attention": None},
    },
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with open_run(tmp_path_factory.mktemp("runs") / "r", validate_settings(RECIPE, "test")) as run:
        run_stages(run)
        return run


def test_every_round_has_its_folder_and_the_whole_its_report(finished: Run) -> None:
    for number in (1, 2):
        for name in ("candidates.parquet", "curated.parquet", "pairs.parquet", "adapter", "train/log.json"):
            assert (finished.path / f"rounds/{number}" / name).exists()
    assert not (finished.path / "pairs.parquet").exists()
    assert all(finished.is_done(stage) for stage in _plan(finished))


def test_the_reference_of_the_second_round_is_the_model_of_the_first(finished: Run) -> None:
    first, second = (
        load_file(finished.path / f"rounds/{number}/reference/logprobs.safetensors")["logprobs"] for number in (1, 2)
    )
    pairs = [finished.path / f"rounds/{number}/pairs.parquet" for number in (1, 2)]
    assert all(path.exists() for path in pairs)
    assert first.shape != second.shape or not torch.allclose(first, second)


def test_the_tuned_model_is_both_adapters(finished: Run) -> None:
    """Weights of the chain: the base, plus the first adapter merged, plus the second."""
    merged = load_start(finished.slot(TUNED)).model.state_dict()
    first = load_start(finished.slot("round-1")).model.state_dict()
    base = load_slot(finished.slot("base")).model.state_dict()
    changed = [name for name in base if not torch.equal(base[name], first[name])]
    assert changed, "the first round changed weights"
    assert any(not torch.equal(first[name], merged[name]) for name in changed)
    untouched = [name for name in base if "vision_tower" in name]
    assert untouched
    assert all(torch.equal(base[name], merged[name]) for name in untouched)


def test_pairs_of_a_round_know_their_images(finished: Run) -> None:
    from mmedpo.storage.tables import read_table

    for number in (1, 2):
        assert read_table(finished.path / f"rounds/{number}/pairs.parquet", PreferencePair)


def _plan(run: Run):
    from mmedpo.pipeline.plan import plan

    return plan(run.settings)
