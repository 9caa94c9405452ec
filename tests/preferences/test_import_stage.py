"""The import stage on the real released file: nothing of the test part is trained on."""

from __future__ import annotations

from collections import Counter

import pytest
import yaml

from data.layouts import LAYOUTS
from mmedpo import load_settings, open_run, run_stages
from mmedpo.errors import MMedPOError
from mmedpo.preferences.writing import export_rows
from mmedpo.records import Drop, Example, PreferencePair
from preferences.rows import preference_row


def _overrides(shared_data):
    file = shared_data / "mmedpo_vqa_rad_prefs" / "vqa-rad_dpo_weighted.json"
    return [f"data.root={shared_data / 'vqa_rad'}", f"preferences.path={file}"]


@pytest.fixture
def no_model(monkeypatch):
    """The stages up to `score` need no model; leave the fine-tuning out."""
    monkeypatch.setattr("mmedpo.train.finetune.finetune", lambda run: run.file("finetuned").mkdir())


def test_released_pairs_are_joined_and_kept_off_the_test_images(shared_data, decoded_once, tmp_path, no_model):
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


def test_noised_images_of_an_imported_file_come_into_the_run_folder(tmp_path):
    root = tmp_path / "data"
    LAYOUTS["table csv"].write(root)
    rows = [
        preference_row(
            n, "Is it big?", "yes", "yes" if visual else "no", images=(f"{n}.png",), score=0.5 + n / 100,
            rejected_images=(f"{(n + 1) % 12}.png",) if visual else (), pair_type="visual" if visual else "text",
            row_id=f"{n}-{visual}",
        )
        for n in range(8)
        for visual in (False, True)
    ]  # fmt: skip
    export_rows(rows, tmp_path / "prefs.jsonl", "ms-swift", root)
    recipe = tmp_path / "recipe.yaml"
    columns = {"image": "file", "question": "ask", "answer": "truth", "split": "part"}
    content = {
        "data": {"dataset": "table", "root": str(root), "split": "official", "table": {"columns": columns}},
        "preferences": {"path": str(tmp_path / "prefs.jsonl")},
        "evaluate": {"splits": ["test"]},
    }
    recipe.write_text(yaml.safe_dump(content))
    with open_run(tmp_path / "run", load_settings(recipe)) as run:
        run_stages(run, until="score")
        pairs = run.read("pairs.parquet", PreferencePair)
    assert Counter(pair.kind for pair in pairs) == {"text": 8, "visual": 8}
    for pair in (pair for pair in pairs if pair.kind == "visual"):
        number = int(pair.pair_id.split("-")[0])
        copied = (tmp_path / "run" / pair.rejected_image_path).read_bytes()
        assert copied == (root / "pictures" / f"{(number + 1) % 12}.png").read_bytes()
        assert pair.chosen == pair.rejected
        assert pair.example_id == f"table-{number}"
