"""Every recipe for a published model, found by itself, from data to report on a small model of its family."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

from data.layouts import LAYOUTS
from mmedpo import open_run, run_stages
from mmedpo.config import validate_settings
from mmedpo.recipes import read_recipe, shipped_recipes
from mmedpo.records import Example, PreferencePair

STAND_INS = {
    "llava-med": "llava_mistral",
    "huatuogpt-vision": "llava_mistral",
    "medgemma": "gemma3",
    "lingshu": "qwen2_5_vl",
}
"""Beginning of a published model's name to the small checkpoint of its family."""
OF_PUBLISHED = [name for name in shipped_recipes() if read_recipe(name).get("model", {}).get("name")]
ALWAYS = ("huatuo-iu-xray",)
"""The one that shows two views; the others in the long tests."""


def small(recipe, checkpoint, root):
    """The recipe where its model, its servers and the files of its visual tool are not at hand.

    What decides the method stays: weights, objective, batch, grouping, schedule, views.
    """
    raw = read_recipe(recipe)
    raw["model"] = {"name": str(checkpoint), "device": "cpu"}
    raw["data"] |= {"root": str(root)}
    if raw["data"]["split"] == "image-disjoint":
        raw["data"]["split_seed"] = 3  # of twelve images: nine, two and one
    del raw["chat"], raw["curate"]["judge"], raw["score"]["agents"]
    # It marks something anywhere, once it does not say what it was fitted on.
    fitted = json.loads((resources.files("mmedpo.grounding") / "coefficients" / "phantom.json").read_text())
    probe = root.parent / "probe.json"
    probe.write_text(json.dumps({**fitted, "modalities": [], "organs": []}))
    raw["ground"] = {"tool": "patch-probe", "options": {"patch-probe": {"probe": str(probe)}}}
    raw["curate"]["max_new_tokens"] = raw["evaluate"]["max_new_tokens"] = 4
    raw["train"] |= {"epochs": 1, "watch": {"every": 1, "questions": 2, "collapse_drop": 0.001}}
    raw["train"]["lora"] = {"rank": 8, "alpha": 16}  # no layer of the small model is as wide as the paper's rank
    raw["engine"] = {"packing": "strict"}
    raw["evaluate"] |= {"bootstrap_samples": 200, "probes": {"lesion-reliance": None, "attention": None}}
    return validate_settings(raw, recipe)


@pytest.mark.parametrize(
    "recipe", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.long) for name in OF_PUBLISHED]
)
def test_a_recipe_for_a_published_model_goes_from_data_to_report(recipe, zoo_folder, tmp_path):
    raw = read_recipe(recipe)
    stand_in = next(
        (own for name, own in STAND_INS.items() if raw["model"]["name"].split("/")[-1].startswith(name)), ""
    )
    assert stand_in, f"say in STAND_INS which small checkpoint stands for {raw['model']['name']}"
    layout = next(own for own in LAYOUTS.values() if own.dataset == raw["data"]["dataset"])
    layout.write(tmp_path / "data")
    settings = small(recipe, zoo_folder(stand_in), tmp_path / "data")
    with open_run(tmp_path / "run", settings) as run:
        run_stages(run)
        examples, pairs = run.read("examples.parquet", Example), run.read("pairs.parquet", PreferencePair)
    assert {pair.kind for pair in pairs} == {"text", "visual"}
    views = 2 if settings.data.groups.get("reports", {}).get("views") == "all" else 1
    assert {len(item.images) for item in (*examples, *pairs)} == {views}
    steps = json.loads((tmp_path / "run" / "train" / "log.json").read_text())
    assert any("loss" in step for step in steps)
    page = (tmp_path / "run" / "report.html").read_text()
    shown = re.findall(r'alt="Image of test question ([\w-]+)', page)
    assert shown, "the report shows every view of a case"
    assert {shown.count(name) for name in shown} == {views}
    assert ("both sides" in page) == (views > 1)


def test_the_recipes_have_the_papers_settings():
    """METHOD section 3, as the paper states it; the two things that cannot be as in the paper are in the caveats."""
    for recipe in OF_PUBLISHED:
        settings = validate_settings(read_recipe(recipe) | {"data": {"dataset": "phantom"}}, recipe)
        train, score = settings.train, settings.score
        assert (train.lora.rank, train.lora.alpha, train.learning_rate, train.epochs) == (128, 256, 1e-7, 3), recipe
        assert (train.beta, train.warmup_ratio, train.weight_decay, train.schedule) == (0.1, 0.03, 0, "cosine"), recipe
        assert (train.batch_groups * train.gradient_accumulation, train.grouping) == (16, "none"), recipe
        assert (score.weights, score.mu, score.sigma**2, score.lower, score.upper) == (
            "rescale", 1, pytest.approx(0.1), 0.75, 1.25,
        ), recipe  # fmt: skip
        assert (score.rounds, len(score.agents), settings.model.dtype) == (5, 3, "bfloat16"), recipe
        assert settings.caveats, recipe
