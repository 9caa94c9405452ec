"""From the folders of a study to its written table: stored scores are read, and no answer is scored again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluate.scored import items, relied
from mmedpo.config import RunSettings, dump_settings
from mmedpo.errors import RunFolderError
from mmedpo.pipeline.study_table import write_study
from mmedpo.pipeline.tables import Table
from mmedpo.records import ItemScore, Reliance
from mmedpo.run.layout import LOG, RESOLVED, SCORES, measured_by
from mmedpo.run.manifest import MANIFEST, StageState, new_manifest
from mmedpo.storage.tables import write_table, write_text

RIGHT = {"base": [0.0] * 12 + [1.0] * 12, "better": [1.0] * 23 + [0.0], "same": [0.0] * 12 + [1.0] * 12}
"""Model or arm -> what its answers score: 50, 95.8 and 50 %."""


EVALUATE = {"evaluate": {"splits": ["test"], "bootstrap_samples": 400, "probes": {"attention": None}}}


PLAN = Table(
    description="A study.",
    seeds=(0, 1),
    selection_seed=0,
    learning_rates=(1e-4,),
    arms={"better": "phantom-dpo", "same": "phantom-sft"},
)


def folder(root: Path, arm: str, seed: int, splits: tuple[str, ...] = ("test",)) -> Path:
    """What the evaluation of one run leaves; under another protocol every answer is wrong."""
    path = root / f"{arm}-{seed}"
    settings = RunSettings.model_validate({"evaluate": {**EVALUATE["evaluate"], "splits": splits}})
    path.mkdir(parents=True)
    (path / RESOLVED).write_text(dump_settings(settings))
    rows = [*items(RIGHT["base"]), *items(RIGHT[arm], "tuned")]
    rows += [*items([0.0] * 24, protocol="released"), *items([0.0] * 24, "tuned", protocol="released")]
    rows += [*items([0.0] * 24, split="validation"), *items([0.0] * 24, "tuned", split="validation")]
    write_table(path / SCORES, ItemScore, rows)
    write_text(path / LOG, json.dumps([{"step": 5 * (seed + 1), "epoch": 1.0}]))
    manifest = new_manifest()
    manifest.stages["train"] = StageState(fingerprint="f", outputs={}, seconds=30.0 + 10 * seed)
    write_text(path / MANIFEST, manifest.model_dump_json())
    for model, lesion in (("base", 0.2), ("tuned", 0.9 if arm == "better" else 0.2)):
        falls = [(lesion, 0.1)] * 24
        write_table(path / measured_by("lesion-reliance", model), Reliance, relied(falls, model))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, list[Path]]:
    return {arm: [folder(tmp_path, arm, seed) for seed in (0, 1)] for arm in ("better", "same")}


def written(folders: dict[str, list[Path]], out: Path) -> tuple[str, dict]:
    chosen = {arm: (1e-4, {1e-4: "0.5"}) for arm in folders}
    write_study("table", PLAN, "mmedpo reproduce table", folders, chosen, [], out)
    return (out / "table.md").read_text(), json.loads((out / "table.json").read_text())


def test_each_arm_is_told_with_its_difference_to_the_base(folders, tmp_path: Path) -> None:
    text, content = written(folders, tmp_path)
    (better,) = (line for line in text.splitlines() if line.startswith("| better | 95.8"))
    assert "**+45.8 (" in better
    assert "**\\* |" in better, "it stands after the correction"
    assert "| same | 50.0 +0.0 (+0.0 to +0.0) |" in text
    assert "24 questions on 24 images" in text
    cells = {(cell["arm"], cell["split"]): cell for cell in content["cells"]}
    assert cells["base", "test"]["mean"] == 0.5
    assert cells["better", "test"]["difference"] == pytest.approx(11 / 24)
    # Two comparisons in the table, and the smaller p-value of them.
    assert cells["better", "test"]["p_adjusted"] == pytest.approx(2 * cells["better", "test"]["p_value"])


def test_the_first_arm_is_compared_with_the_others(folders, tmp_path: Path) -> None:
    _, content = written(folders, tmp_path)
    (contrast,) = content["contrasts"]
    assert (contrast["arm"], contrast["against"], contrast["difference"]) == ("better", "same", pytest.approx(11 / 24))


def test_several_arms_may_be_held_against_the_others(folders, tmp_path: Path) -> None:
    chosen = {arm: (1e-4, {1e-4: "0.5"}) for arm in folders}
    plan = PLAN.model_copy(update={"leaders": ("better", "same")})
    write_study("table", plan, "mmedpo reproduce table", folders, chosen, [], tmp_path)
    content, text = json.loads((tmp_path / "table.json").read_text()), (tmp_path / "table.md").read_text()
    differences = {(item["arm"], item["against"]): item["difference"] for item in content["contrasts"]}
    assert differences == {("better", "same"): pytest.approx(11 / 24), ("same", "better"): pytest.approx(-11 / 24)}
    own = text.split("| better minus | closed accuracy |")[1].split("##")[0]
    assert "| same |" in own
    assert "| better |" not in own
    assert "| same minus | closed accuracy |" in text
    assert "| contrast minus base's | better minus it | same minus it |" in text
    assert "|  | **-0.700 (-0.700 to -0.700)**\\* |\n" in text


def test_a_probe_has_a_table_of_its_own(folders, tmp_path: Path) -> None:
    text, content = written(folders, tmp_path)
    assert "## Lesion reliance" in text
    assert "| base | 0.200 | 0.100 | 0.100 |  |" in text
    assert "| better | 0.900 | 0.100 | 0.800 | **+0.700 (+0.700 to +0.700)**\\* |  |" in text
    assert "| same | 0.200 | 0.100 | 0.100 | +0.000 (+0.000 to +0.000) | **+0.700 (+0.700 to +0.700)**\\* |" in text
    base, better, same = content["probes"]["lesion-reliance"]
    assert base["difference"] is None
    assert (better["difference"], same["difference"]) == (pytest.approx(0.7), pytest.approx(0.0))


def test_what_training_took_is_told(folders, tmp_path: Path) -> None:
    text, content = written(folders, tmp_path)
    assert "| better | 3 | 8 | 35 |" in text
    assert content["cost"][0] == {"arm": "better", "passes": 3.0, "steps": 7.5, "seconds": 35.0, "before": 0}


def test_training_is_that_of_all_rounds_and_of_the_fine_tuning_before(folders, tmp_path: Path) -> None:
    (path,) = folders["same"] = folders["same"][:1]
    folders["better"] = folders["better"][:1]
    rounds = {"rounds": 2, "curate": {"kinds": ["text"]}, "finetune": {"epochs": 4}}
    settings = RunSettings.model_validate({**EVALUATE, **rounds})
    (path / RESOLVED).write_text(dump_settings(settings))
    manifest = new_manifest()
    for number, (name, seconds) in enumerate((("finetune", 100.0), ("rounds/1/train", 7.0), ("rounds/2/train", 5.0))):
        manifest.stages[name] = StageState(fingerprint="f", outputs={}, seconds=seconds)
        write_text(path / "rounds" / str(number) / LOG, json.dumps([{"step": 20 + number, "epoch": 1.0}]))
    write_text(path / MANIFEST, manifest.model_dump_json())
    text, content = written(folders, tmp_path)
    assert "| same | 4 + 6 | 43 | 112 |" in text
    assert content["cost"][1]["before"] == 4


PAPER = {"slake": {"base": {"open_recall": 44.26}, "better": {"closed_accuracy": 73.08, "mean": 60.0}}}


def test_the_papers_numbers_stand_beside_ours_where_model_and_data_are_the_papers(tmp_path: Path) -> None:
    """By the scripts' protocol, under which every answer here is wrong."""
    runs = {arm: [folder(tmp_path, arm, seed) for seed in (0, 1)] for arm in ("better", "same")}

    def page(dataset: str, model: str, split: str = "official") -> str:
        changed = {"data": {"dataset": dataset, "root": "x", "split": split}, "model": {"name": model}}
        settings = RunSettings.model_validate({**EVALUATE, **changed})
        for paths in runs.values():
            for path in paths:
                (path / RESOLVED).write_text(dump_settings(settings))
        chosen = {arm: (1e-4, {1e-4: "0.5"}) for arm in runs}
        plan = PLAN.model_copy(update={"paper": PAPER})
        write_study("t", plan, "mmedpo reproduce t", runs, chosen, [], tmp_path / "out")
        return (tmp_path / "out" / "t.md").read_text()

    shown = page("slake", "models/llava-med-v1.5")
    assert "| arm | closed accuracy | open recall | mean |" in shown
    assert "| base | 0.00 | / 44.26 | 0.00 |" in shown
    assert "| better | 0.00 / 73.08 |  | 0.00 / 60.00 |" in shown
    assert "| same | 0.00 |  | 0.00 |" in shown
    assert "paper's numbers" not in page("vqa-rad", "models/llava-med-v1.5")
    for model in ("medgemma-4b-it", "llava-med++", "llava-med-of-mine"):
        assert "paper's numbers" not in page("slake", f"models/{model}")
    assert "paper's numbers" not in page("slake", "models/llava-med-v1.5", "image-disjoint")
    assert "paper's numbers" in page("slake", "llava-med/")


def test_stored_scores_are_what_is_compared(folders, tmp_path: Path) -> None:
    (folders["better"][0] / SCORES).unlink()
    with pytest.raises(RunFolderError, match=r"scores\.parquet is missing"):
        written(folders, tmp_path)


def test_a_rate_at_the_edge_of_the_grid_is_told(folders, tmp_path: Path) -> None:
    grid = {1e-4: "0.5", 2e-4: "0.6", 5e-4: "0.4"}
    chosen = {arm: (2e-4 if number else 1e-4, grid) for number, arm in enumerate(folders)}
    write_study("table", PLAN, "mmedpo reproduce table", folders, chosen, [], tmp_path)
    first = next(iter(folders))
    assert f"beyond which a better rate may lie: {first}.\n" in (tmp_path / "table.md").read_text()
