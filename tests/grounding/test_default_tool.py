"""Which tool marks the images of a recipe that names none: the phantoms' probe marks phantoms, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmedpo import load_settings, open_run, run_stages
from mmedpo.config import RunSettings, load_ground
from mmedpo.errors import ConfigError
from mmedpo.recipes import shipped_recipes

DATA = "data: {dataset: slake, root: /d}\n"


def resolved(tmp_path: Path, text: str) -> RunSettings:
    (tmp_path / "recipe.yaml").write_text(text)
    return load_settings(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("ground", ["", "ground: {tool: patch-probe}", "ground: {tool: [annotation, patch-probe]}"])
def test_visual_pairs_of_patients_are_never_marked_by_the_probe_of_phantoms(tmp_path: Path, ground: str) -> None:
    with pytest.raises(ConfigError, match=r"patch-probe.*generated images alone.*'slake'.*annotation, .*xrv") as caught:
        resolved(tmp_path, DATA + ground)
    assert "\n" not in str(caught.value)
    assert "curate.kinds=[text]" in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        "curate: {kinds: [text]}",
        "ground: {tool: annotation}",
        "ground: {tool: patch-probe, options: {patch-probe: {probe: mine.json}}}",
        "ground: {tool: none}\ncurate: {noise: {kind: crop}}",
        "preferences: {path: p.json}",
    ],
)
def test_a_tool_of_one_s_own_and_text_alone_are_taken(tmp_path: Path, said: str) -> None:
    assert resolved(tmp_path, DATA + said).data.dataset == "slake"


def test_phantoms_are_marked_by_their_probe_without_a_word(tmp_path: Path) -> None:
    assert resolved(tmp_path, "description: demo").ground.tools == ("patch-probe",)
    assert load_ground(["patch-probe"], []).tools == ("patch-probe",), "measuring it on real films is what says so"


def test_settings_made_by_hand_are_refused_before_the_data_are_read(tmp_path: Path) -> None:
    raw = {"data": {"dataset": "slake", "root": str(tmp_path)}}
    with (
        open_run(tmp_path / "run", RunSettings.model_validate(raw)) as run,
        pytest.raises(ConfigError, match="generated images alone"),
    ):
        run_stages(run)


def test_every_shipped_recipe_names_a_tool_for_its_images() -> None:
    for recipe in shipped_recipes():
        phantoms = recipe.startswith("phantom")
        given = [] if phantoms else ["data.root=/d"]
        given += ["preferences.path=/p"] if recipe == "vqa-rad-released" else []
        try:
            settings = load_settings(recipe, given)
        except ConfigError as error:
            if "endpoint" in str(error):  # a judge that the user describes
                continue
            raise
        marks = set(settings.ground.tools) if settings.grounds else set()
        assert marks <= ({"patch-probe"} if phantoms else {"annotation", "medklip", "none"}), recipe
