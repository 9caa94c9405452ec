"""The import stage on the real released file: nothing of the test part is trained on."""

from __future__ import annotations

from collections import Counter

import pytest

from mmedpo import load_settings, open_run, run_stages
from mmedpo.errors import MMedPOError
from mmedpo.records import Drop, Example, PreferencePair


def _overrides(shared_data):
    file = shared_data / "mmedpo_vqa_rad_prefs" / "vqa-rad_dpo_weighted.json"
    return [f"data.root={shared_data / 'vqa_rad'}", f"preferences.path={file}"]


@pytest.fixture
def no_model(monkeypatch):
    """The stages up to `score` need no model; leave the fine-tuning out."""
    monkeypatch.setattr("mmedpo.train.finetune.finetune", lambda run: run.file("finetuned").mkdir())


def test_released_pairs_are_joined_and_kept_off_the_test_images(shared_data, tmp_path, no_model):
    with open_run(tmp_path / "run", load_settings("vqa-rad-released", _overrides(shared_data))) as run:
        run_stages(run, until="score")
        pairs = run.read("pairs.parquet", PreferencePair)
        drops = run.read("drops/curate.parquet", Drop)
        split_of = {example.image.sha256: example.split for example in run.read("examples.parquet", Example)}
    assert len(pairs) + len(drops) == 1797
    assert {split_of[pair.image.sha256] for pair in pairs} == {"train"}
    assert set(Counter(drop.reason for drop in drops)) <= {"image-in-test-split", "patient-in-test-split"}
    assert len(drops) > 300
    assert all(pair.weight == pair.score for pair in pairs), "raw mode trains with the released scores"
    assert all((shared_data / "vqa_rad" / pair.image.path).exists() for pair in pairs)


def test_a_missing_preference_file_is_named_before_anything_runs(shared_data, tmp_path):
    overrides = [f"data.root={shared_data / 'vqa_rad'}", "preferences.path=/nowhere/pairs.json"]
    with (
        open_run(tmp_path / "run", load_settings("vqa-rad-released", overrides)) as run,
        pytest.raises(MMedPOError, match="/nowhere/pairs.json does not exist"),
    ):
        run_stages(run)
