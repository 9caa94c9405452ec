"""The whole loop on the embedded default at the smallest size: recipes, resume after kills, bad input."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmedpo import load_settings, open_run, run_stages
from mmedpo.errors import ConfigError, CurationError, DataError, MMedPOError
from mmedpo.recipes import shipped_recipes
from mmedpo.records import Drop, Prediction, PreferencePair
from mmedpo.run.slots import round_folder
from mmedpo.storage.tables import read_table

SMALL = [
    "data.phantom.train_images=6",
    "data.phantom.validation_images=3",
    "data.phantom.test_images=3",
    "train.epochs=1",
    "train.checkpoint_every=3",
    "train.watch.every=4",
    "train.watch.questions=12",
    "evaluate.bootstrap_samples=200",
    "evaluate.probes.lesion-reliance.images=3",
    "evaluate.probes.attention.questions=2",
]
ALWAYS = ("phantom-sft-contrast",)
"""Run by default: ground truths alone, contrasts; the others are long tests."""
REFERENCE_FREE = (
    "phantom-mmedpo-anchored",
    "phantom-sft-contrast",
    "phantom-sft-contrast-lesion",
    "phantom-sft-contrast-projector",
    "phantom-sft-mirrored",
    "phantom-sft-weighted",
    "phantom-simpo",
)
ASKED = ("phantom-self-rewarding", "phantom-sima")
"""They ask a language model of the user's: `test_asked_recipes`."""
PHANTOM_RECIPES = [name for name in shipped_recipes() if name.startswith("phantom") and name not in ASKED]
LEARNS_TO_ASK = {
    "phantom-stllava-med": ("data.phantom.train_images=40", "finetune.epochs=15"),
}
"""A model that has learnt of six images asks nothing."""
RESULTS = ("pairs.parquet", "adapter/adapter_model.safetensors", "predictions/tuned.parquet", "evaluation.json")


def run_recipe(recipe: str, folder: Path, *overrides: str, donors: tuple[Path, ...] = ()) -> Path:
    with open_run(folder, load_settings(recipe, [*SMALL, *overrides]), donors=donors) as run:
        run_stages(run)
    return folder


def outcome(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return run_recipe("phantom-mmedpo", tmp_path_factory.mktemp("runs") / "whole")


def test_every_stage_leaves_what_it_promises(whole):
    pairs = read_table(whole / "pairs.parquet", PreferencePair)
    kinds = {pair.kind for pair in pairs}
    assert kinds == {"text", "visual"}
    assert all(pair.weight is not None and 0.75 <= pair.weight <= 1.25 for pair in pairs)
    assert all(pair.chosen != pair.rejected for pair in pairs if pair.kind == "text")
    assert all((whole / pair.rejected_image_path).exists() for pair in pairs if pair.kind == "visual")
    evaluation = json.loads((whole / "evaluation.json").read_text())
    assert [split["split"] for split in evaluation["splits"]] == ["test-balanced", "test"]
    asked = {p.example_id for p in read_table(whole / "predictions" / "base.parquet", Prediction)}
    assert asked == {p.example_id for p in read_table(whole / "predictions" / "tuned.parquet", Prediction)}
    page = (whole / "report.html").read_text()
    assert "closed accuracy" in page
    assert "2.5 million parameters" in page, "the recipe's caveats belong in the report"


def test_a_finished_run_costs_nothing(whole, capfd):
    before = {name: (whole / name).stat().st_mtime_ns for name in (*RESULTS, "report.html")}
    command = [
        sys.executable,
        "-m",
        "mmedpo",
        "run",
        "phantom-mmedpo",
        "--name",
        whole.name,
        "--runs",
        str(whole.parent),
    ]
    for override in SMALL:
        command += ["--set", override]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "already done" in result.stderr
    assert "base against tuned" in result.stdout
    assert "report.html" in result.stdout
    assert {name: (whole / name).stat().st_mtime_ns for name in (*RESULTS, "report.html")} == before


@pytest.mark.parametrize(
    "recipe", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.long) for name in PHANTOM_RECIPES]
)
def test_every_phantom_recipe_runs_to_its_report(recipe, whole, tmp_path):
    folder = run_recipe(recipe, tmp_path / recipe, *LEARNS_TO_ASK.get(recipe, ()), donors=(whole,))
    assert (folder / "report.html").stat().st_size > 20_000
    settings = load_settings(recipe)
    folder = folder / round_folder(settings.rounds) if settings.rounds > 1 else folder
    assert {pair.kind for pair in read_table(folder / "pairs.parquet", PreferencePair)} == set(settings.curate.kinds)
    logged = [entry["loss"] for entry in json.loads((folder / "train" / "log.json").read_text()) if "loss" in entry]
    assert logged
    assert all(math.isfinite(loss) for loss in logged)
    assert (folder / "reference").exists() == (recipe not in ("phantom-sft", *REFERENCE_FREE))
    assert (folder / "train" / "factors.parquet").exists() == bool(settings.train.factors)


def test_the_same_seed_gives_the_same_run_and_another_does_not(whole, tmp_path):
    assert outcome(run_recipe("phantom-mmedpo", tmp_path / "again")) == outcome(whole)
    with open_run(tmp_path / "other", load_settings("phantom-mmedpo", [*SMALL, "seed=1"]), donors=(whole,)) as other:
        run_stages(other, until="curate")
    assert (tmp_path / "other" / "curated.parquet").read_bytes() != (whole / "curated.parquet").read_bytes()


@pytest.mark.long
def test_changed_settings_run_only_what_depends_on_them(whole, tmp_path):
    folder = run_recipe("phantom-mmedpo", tmp_path / "run", donors=(whole,))
    curated = (folder / "curated.parquet").stat().st_mtime_ns
    adapter = (folder / RESULTS[1]).read_bytes()
    run_recipe("phantom-mmedpo", folder, "score.weights=none")
    assert (folder / "curated.parquet").stat().st_mtime_ns == curated
    assert (folder / RESULTS[1]).read_bytes() != adapter


@pytest.mark.long
@pytest.mark.parametrize("seconds", [3.0, 5.0, 7.0])
def test_killed_again_and_again_it_ends_with_the_same_bytes(whole, tmp_path, seconds):
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "mmedpo", "run", "phantom-mmedpo", "--name", "killed", "--runs", str(tmp_path)]
    for override in SMALL:
        command += ["--set", override]
    kills = 0
    for attempt in range(40):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + seconds + 0.7 * attempt
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if process.poll() is not None:
            assert process.returncode == 0
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills > 0
    assert outcome(folder) == outcome(whole)


def test_one_bad_image_is_a_counted_drop_and_the_rest_goes_on(shared_data, tmp_path):
    root = tmp_path / "VQA_RAD"
    (root / "images").mkdir(parents=True)
    source = shared_data / "vqa_rad"
    images = sorted((source / "images").iterdir())[:60]
    rows = json.loads((source / "VQA_RAD_Dataset_Public.json").read_text())
    asked = [row for row in rows if row["image_name"] in {image.name for image in images}]
    (root / "VQA_RAD_Dataset_Public.json").write_text(json.dumps(asked))
    for image in images:
        (root / "images" / image.name).write_bytes(image.read_bytes())
    broken = root / "images" / images[0].name
    broken.write_bytes(broken.read_bytes()[:500])
    with open_run(tmp_path / "run", load_settings("vqa-rad", [f"data.root={root}"])) as run:
        run_stages(run, until="data")
        drops = read_table(run.file("drops/data.parquet"), Drop)
    assert {drop.reason for drop in drops} == {"unreadable-image"}
    assert all(broken.name in drop.detail for drop in drops)


@pytest.mark.parametrize(
    ("overrides", "error", "names"),
    [
        (["data.max_train_examples=3"], DataError, "at least 8"),
        (["ground.minimum_confidence=1.0", "curate.kinds=[visual]"], CurationError, "confidence-below-minimum"),
        (["model.name=/nowhere"], MMedPOError, "/nowhere"),
        (["evaluate.splits=[nothing]"], MMedPOError, "nothing"),
    ],
)
def test_what_cannot_work_is_one_line_and_leaves_finished_stages(overrides, error, names, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(error, match=names) as caught:
        run_recipe("phantom-mmedpo", folder, *overrides, donors=(whole,))
    assert "\n" not in str(caught.value)


def test_an_unknown_stage_is_named(whole):
    with (
        open_run(whole, load_settings("phantom-mmedpo", SMALL)) as run,
        pytest.raises(ConfigError, match="no stage 'finetune'"),
    ):
        run_stages(run, until="finetune")
