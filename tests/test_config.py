"""Settings: nothing unknown, nothing idle, and what was resolved reads back the same."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from mmedpo.config import RunSettings, dump_settings, load_settings, validate_settings
from mmedpo.errors import ConfigError
from mmedpo.recipes import inherited_settings, methods, read_recipe, recipe_description, shipped_recipes

BASE = "phantom-mmedpo"
FROM_USER = {
    "data.root": "data.root=/data/set",
    "preferences.path": "preferences.path=/data/pairs.json",
    "preferences.image_root": "preferences.image_root=/data/images",
}
"""Where the user's own files lie: with his servers the only settings a shipped recipe may leave to him."""
SERVERS = {
    "self": "chat.endpoints.self={base_url: 'http://127.0.0.1:1/v1', model: m, temperature: 0.7}",
    "critic": "chat.endpoints.critic={base_url: 'http://127.0.0.1:1/v1', model: m}",
}
"""Language models that methods ask."""


def _refused(recipe: str | Path, *overrides: str) -> str:
    """The one line with which these settings are refused."""
    with pytest.raises(ConfigError) as caught:
        load_settings(recipe, list(overrides))
    line = str(caught.value)
    assert "\n" not in line
    return line


def _recipe(tmp_path: Path, content: str, name: str = "mine.yaml") -> Path:
    path = tmp_path / name
    path.write_text(content)
    return path


def _groups(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Every group of settings with a name of its own, from the models themselves."""
    found = [prefix]
    for name, field in model.model_fields.items():
        if typing.get_origin(field.annotation) is tuple:
            continue
        if typing.get_origin(field.annotation) is dict:
            name = f"{name}.mine"  # groups under names of the user's own
        for option in (field.annotation, *typing.get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, BaseModel):
                found += _groups(option, f"{prefix}{name}.")
    return found


# Unknown settings.


@pytest.mark.parametrize("group", _groups(RunSettings), ids=lambda group: group or "top")
def test_an_unknown_setting_is_refused_in_every_group(group: str) -> None:
    line = _refused(BASE, f"{group}no_such_thing=1")
    assert f"unknown setting '{group}no_such_thing'; known here: " in line


def test_an_unknown_setting_of_a_term_is_refused_with_its_place() -> None:
    line = _refused(BASE, "train.objective=[{loss: sigmoid}, {loss: nll, wieght: 2}]")
    assert "unknown setting 'train.objective.1.wieght'; did you mean 'weight'? known here: after, beta, " in line


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_all_weights_in_16_bits_are_not_trained(dtype: str) -> None:
    line = _refused(BASE, "train.tune=full", "train.lora={}", f"model.dtype={dtype}")
    assert f"train.tune=full needs model.dtype=float32 (not {dtype}," in line
    assert load_settings(BASE, ["train.tune=full", "model.autocast=true"]).model.autocast


def test_an_objective_is_a_list_of_terms() -> None:
    settings = load_settings(
        BASE, ["train.objective=[{loss: ipo, beta: 0.5, kinds: [text]}, {loss: nll, weight: 0.2}]"]
    )
    assert [(term.loss, term.weight, term.beta) for term in settings.train.objective] == [
        ("ipo", 1.0, 0.5),
        ("nll", 0.2, None),
    ]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["train.tune=full", "train.lora.rank=8"], "train.lora has no effect because train.tune is 'full'"),
        (
            ["train.parts=[vision_tower]", "engine.features=disk"],
            "engine.features has no effect because the vision tower is trained",
        ),
        (["train.method=sft", "train.objective=[{loss: ipo}]"], "train.objective has no effect"),
    ],
)
def test_settings_without_effect_on_the_engine_and_training_are_refused(tmp_path, overrides, line) -> None:
    assert line in _refused(_recipe(tmp_path, "description: nothing set"), *overrides)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("train.learning_rat", "learning_rate"),
        ("train.lora.rnak", "rank"),
        ("finetune.epoch", "epochs"),
        ("preferences.pat", "path"),
        ("sead", "seed"),
    ],
)
def test_a_misspelt_setting_is_suggested(typed: str, meant: str) -> None:
    line = _refused(BASE, f"{typed}=1")
    assert f"unknown setting {typed!r}; did you mean {meant!r}? known here: " in line


def test_the_number_of_further_problems_is_told() -> None:
    assert _refused(BASE, "a=1", "b=2", "train.c=3").endswith("(and 2 more)")


def test_a_needed_setting_is_named() -> None:
    assert "preferences.path is needed" in _refused(BASE, "preferences.format=mmedpo-json")


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.beta=0", "train.beta=0: Input should be greater than 0"),
        ("train.beta=", "train.beta=None: "),
        ("train.learning_rate=fast", "train.learning_rate='fast': "),
        ("curate.kinds=[text, sound]", "curate.kinds.1='sound': Input should be 'text', 'visual' or 'answer'"),
        ("curate.kinds=[]", "curate.kinds is empty; allowed: text, visual, answer, or several of them"),
        ("curate.noise.step=1000", "curate.noise.step=1000: Input should be less than or equal to 999"),
        ("curate.noise.schedule=linear", "curate.noise.schedule='linear': "),
        (
            "evaluate.protocol=lenient",
            "evaluate.protocol: unknown protocol 'lenient'; known: llava-med, ",
        ),
        ("evaluate.splits=[]", "evaluate.splits=[]: "),
        ("evaluate.answer_types=[]", "evaluate.answer_types=[]: "),
        ("score.lower=1.25", "score.lower (1.25) must be below score.upper (1.25)"),
    ],
)
def test_a_bad_value_is_refused_with_the_allowed_ones(override: str, line: str) -> None:
    assert line in _refused(BASE, override)


# Overrides.


def test_an_override_sets_one_value_and_leaves_its_neighbours() -> None:
    settings = load_settings(BASE, ["train.lora.rank=8", "train.beta=0.2", "seed=3"])
    assert (settings.train.lora.rank, settings.train.beta, settings.seed) == (8, 0.2, 3)
    base = load_settings(BASE)
    assert settings.train.lora.alpha == base.train.lora.alpha
    assert settings.train.learning_rate == base.train.learning_rate


@pytest.mark.parametrize(
    ("override", "group", "name", "value"),
    [
        ("evaluate.splits=[test]", "evaluate", "splits", ("test",)),
        ("evaluate.splits=[test, test-balanced]", "evaluate", "splits", ("test", "test-balanced")),
        ("train.learning_rate=1e-5", "train", "learning_rate", 1e-5),
        ("train.epochs=3", "train", "epochs", 3.0),
        ("data.max_train_examples=null", "data", "max_train_examples", None),
        ("ground.only_tags=['a:b', c]", "ground", "only_tags", ("a:b", "c")),
        (" train.beta = 0.5", "train", "beta", 0.5),
    ],
)
def test_an_override_is_yaml(override: str, group: str, name: str, value: object) -> None:
    assert getattr(getattr(load_settings(BASE, [override]), group), name) == value


def test_a_later_override_wins() -> None:
    assert load_settings(BASE, ["seed=1", "seed=2"]).seed == 2


def test_an_override_may_open_a_group_the_recipe_does_not_have() -> None:
    settings = load_settings(BASE, ["finetune.epochs=2"])
    assert settings.finetune is not None
    assert settings.finetune.epochs == 2


@pytest.mark.parametrize("override", ["train.beta", "=3", ""])
def test_an_override_without_name_or_value_is_refused(override: str) -> None:
    assert "is not of the form group.setting=value" in _refused(BASE, override)


def test_an_override_below_a_value_is_refused() -> None:
    assert "'beta' is a value, not a group of settings" in _refused(BASE, "train.beta=1", "train.beta.x=1")


@pytest.mark.parametrize("value", ["[text", "{", "a: b: c", '"open', "line\n- break: ["])
def test_an_override_that_is_no_yaml_is_one_clear_line(value: str) -> None:
    assert "is not valid YAML" in _refused(BASE, f"description={value}")


@given(st.text(max_size=30))
def test_no_override_whatsoever_ends_in_a_traceback(text: str) -> None:
    for override in (text, f"train.beta={text}", f"{text}=1", f"train.{text}=1"):
        try:
            load_settings(BASE, [override])
        except ConfigError:
            continue


def test_the_users_home_is_found_in_every_path() -> None:
    settings = load_settings("vqa-rad-released", [o.replace("=/", "=~/") for o in FROM_USER.values()])
    assert settings.preferences is not None
    for path in (settings.data.root, settings.preferences.path, settings.preferences.image_root):
        assert path is not None
        assert path.is_relative_to(Path.home())


# Settings without effect.


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["data.split_seed=3"], "data.split_seed has no effect because the phantom dataset is generated"),
        (["data.root=/data"], "data.root has no effect because the phantom dataset is generated"),
        (["data.split=official"], "data.split has no effect because the phantom dataset is generated"),
        (["data.dataset=vqa-rad", "data.root=/d", "data.phantom.size=96"], "data.phantom has no effect because"),
        (["data.dataset=vqa-rad"], "data.root is needed for dataset 'vqa-rad'"),
        (
            ["ground.tool=annotation", "ground.options.patch-probe.probe=x"],
            "ground.options for 'patch-probe' has no effect",
        ),
        (["ground.probe=x.json"], "it is now ground.options.patch-probe.probe"),
        (["ground.tool=[annotation, annotation]"], "'annotation' stands twice"),
        (["ground.tool=[none, annotation]"], "'none' stands alone"),
        (["ground.tool=none", "ground.minimum_confidence=0.5"], "ground.minimum_confidence has no effect"),
        (["ground.tool=none", "ground.only_tags=[a]"], "ground.only_tags has no effect because the tool is 'none'"),
        (["ground.tool=none"], "curate.kinds asks for visual pairs but ground.tool is 'none'"),
        (["curate.kinds=[text]", "ground.minimum_confidence=0.5"], "ground has no effect because curate.kinds has no"),
        (["curate.kinds=[text]", "curate.noise.step=5"], "curate.noise has no effect because curate.kinds has no"),
        (
            ["curate.kinds=[visual]", "curate.candidates=5"],
            "curate.candidates has no effect because curate.kinds has no",
        ),
        (["curate.kinds=[visual]", "curate.temperature=2"], "curate.temperature has no effect"),
        (["curate.kinds=[visual]", "curate.top_p=0.5"], "curate.top_p has no effect"),
        (["curate.kinds=[visual]", "curate.max_new_tokens=5"], "curate.max_new_tokens has no effect"),
        (["curate.kinds=[visual]", "curate.judge=x"], "curate.judge has no effect"),
        (["curate.kinds=[visual]", "score.rounds=2"], "score.rounds has no effect because there are no text pairs"),
        (["curate.kinds=[visual]", "score.agents=[a]"], "score.agents has no effect because there are no text pairs"),
        (["curate.noise.kind=blank", "curate.noise.step=5"], "curate.noise.step has no effect because curate"),
        (["curate.noise.kind=crop", "curate.noise.region=global"], "curate.noise.region has no effect because curate"),
        (["score.weights=raw", "score.mu=2"], "score.mu has no effect because score.weights is 'raw'"),
        (["score.weights=none", "score.sigma=2"], "score.sigma has no effect because score.weights is 'none'"),
        (["score.weights=none", "score.lower=0.1"], "score.lower has no effect"),
        (["score.weights=raw", "score.upper=3"], "score.upper has no effect"),
        (["score.agents=[]", "score.rounds=3"], "score.rounds has no effect because score.agents is empty"),
        (["train.method=sft", "train.beta=0.2"], "train.beta has no effect because train.method is 'sft'"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, list) else "",
)
def test_a_setting_without_effect_is_refused(tmp_path: Path, overrides: list[str], line: str) -> None:
    assert line in _refused(_recipe(tmp_path, "{}"), *overrides)


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("curate.candidates=5", "curate has no effect because pairs are imported"),
        ("ground.minimum_confidence=0.1", "ground has no effect because pairs are imported"),
        ("score.rounds=2", "score.rounds has no effect because pairs are imported"),
        ("score.agents=[a]", "score.agents has no effect because pairs are imported"),
    ],
)
def test_imported_pairs_leave_no_room_for_curation(tmp_path: Path, override: str, line: str) -> None:
    recipe = _recipe(tmp_path, "preferences: {path: /p.json, image_root: /i}")
    assert load_settings(recipe).preferences is not None
    assert line in _refused(recipe, override)


def test_an_idle_setting_at_its_default_is_no_contradiction(tmp_path: Path) -> None:
    """A resolved recipe writes every default out; that must not count as having set it."""
    settings = load_settings(_recipe(tmp_path, "train: {method: sft, beta: 0.1}\nscore: {weights: none, mu: 1.0}"))
    assert settings.train.method == "sft"


# The resolved recipe.

COMBINATIONS: dict[str, tuple[str, list[str]]] = {
    "defaults": ("{}", []),
    "text only without a tool": ("curate: {kinds: [text]}\nground: {tool: none}", []),
    "visual only": ("curate: {kinds: [visual]}", ["curate.noise.kind=crop"]),
    "vqa-rad style": (
        "data: {dataset: vqa-rad, split: official}\nground: {tool: chest-probe, only_tags: ['organ:chest']}",
        ["data.root=~/VQA_RAD", "evaluate.splits=[test]", "evaluate.answer_types=[closed, open]"],
    ),
    "sft": ("train: {method: sft}\nscore: {weights: none}", ["train.epochs=0.5"]),
    "finetune": ("finetune: {epochs: 2}", ["finetune.learning_rate=1e-4", "model.device=cuda:1"]),
    "imported": ("preferences: {path: ~/p.json, image_root: images}\nscore: {weights: raw}", []),
    "odd numbers": ("{}", ["score.sigma=0.1", "train.learning_rate=1e-7", "train.beta=1e-300", "seed=4294967295"]),
    "odd words": ("{}", ["description='no: é ☢ # \\x00 [x] 1e-3'", "caveats=['null', '', ' a ', 'yes']"]),
}


def _resolves(tmp_path: Path, settings: RunSettings) -> None:
    resolved = tmp_path / "config.resolved.yaml"
    resolved.write_text(dump_settings(settings))
    again = load_settings(resolved)
    assert again == settings
    assert dump_settings(again) == resolved.read_text()


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_resolved_recipe_reads_back_the_same(tmp_path: Path, combination: str) -> None:
    content, overrides = COMBINATIONS[combination]
    _resolves(tmp_path, load_settings(_recipe(tmp_path, content), overrides))


def test_the_resolved_recipe_writes_every_default_out() -> None:
    def leaves(model: BaseModel) -> dict[str, Any]:
        values = {name: getattr(model, name) for name in type(model).model_fields}
        plain = {name: shape(value) for name, value in values.items()}
        return plain | {name: leaves(value) for name, value in values.items() if isinstance(value, BaseModel)}

    def shape(value: Any) -> Any:
        return {name: shape(inner) for name, inner in value.items()} if isinstance(value, dict) else None

    settings = RunSettings()
    assert shape(yaml.safe_load(dump_settings(settings))) == leaves(settings)


# Recipes.


def _load_shipped(recipe: str) -> RunSettings:
    """A shipped recipe; what it lacks may only be where the user's files lie."""
    given: list[str] = []
    for _ in FROM_USER:
        try:
            return load_settings(recipe, given)
        except ConfigError as error:
            given += [override for name, override in FROM_USER.items() if f"{name} is needed" in str(error)]
            given += [override for name, override in SERVERS.items() if f"endpoint {name!r} is not" in str(error)]
    return load_settings(recipe, given)


def test_there_are_recipes() -> None:
    assert BASE in shipped_recipes()


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_shipped_recipe_is_valid_and_says_what_it_is(tmp_path: Path, recipe: str) -> None:
    settings = _load_shipped(recipe)
    assert settings.description == recipe_description(recipe) != ""
    _resolves(tmp_path, settings)


@pytest.mark.parametrize("recipe", [BASE, "phantom-irpo"])
def test_whoever_reads_a_recipe_may_change_what_he_read(recipe: str) -> None:
    before = dump_settings(load_settings(recipe))
    for read in (read_recipe(recipe), inherited_settings(recipe)):
        for group in read.values():
            group.clear() if isinstance(group, dict | list) else None
    assert dump_settings(load_settings(recipe)) == before


def test_no_two_shipped_recipes_are_the_same() -> None:
    words: dict[str, Any] = {"description": "", "caveats": ()}
    every = [_load_shipped(recipe).model_copy(update=words) for recipe in shipped_recipes()]
    assert all(one != other for number, one in enumerate(every) for other in every[:number])


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    line = _refused("phantom-mmedppo")
    assert "unknown recipe 'phantom-mmedppo'; did you mean 'phantom-mmedpo'?" in line
    assert "mmedpo recipes" in line


def test_a_method_is_laid_over_the_recipe_of_any_dataset(tmp_path: Path) -> None:
    rad = load_settings("vqa-rad-irpo", ["data.root=/data/set"])
    phantom = load_settings("phantom-irpo")
    assert rad.train.objective == phantom.train.objective != RunSettings().train.objective
    assert (rad.data.dataset, rad.finetune is None) == ("vqa-rad", False)
    assert rad.train.learning_rate == load_settings("vqa-rad", ["data.root=/data/set"]).train.learning_rate
    both = load_settings("phantom-irpo-after-sft")
    assert both.finetune == load_settings("phantom-after-sft").finetune is not None
    assert both.train == phantom.train
    mine = _recipe(tmp_path, "extends: phantom-irpo\nseed: 3")
    assert load_settings(mine).train == phantom.train
    assert "unknown recipe" in _refused("phantom-irpo-dop")
    assert "unknown recipe" in _refused("phantomirpo")


@pytest.mark.parametrize("dataset", ["phantom", "vqa-rad", "llava-med-slake", "huatuo-iu-xray", "llava-med-mimic-cxr"])
def test_every_method_goes_with_every_dataset_and_after_fine_tuning(dataset: str) -> None:
    """What a method leaves unused of the dataset's recipe (its judge, its agents, their servers) goes with it."""
    for method in methods():
        server = [
            line for name, line in SERVERS.items() if {"self-rewarding": "self", "sima": "critic"}.get(method) == name
        ]
        root = [] if dataset == "phantom" else ["data.root=/data/set"]
        plain = load_settings(f"{dataset}-{method}", [*root, *server])
        after = load_settings(f"{dataset}-{method}-after-sft", [*root, *server])
        assert after.finetune is not None
        assert (after.curate, after.train, after.score) == (plain.curate, plain.train, plain.score)
        assert {*plain.used_endpoints("curate"), *plain.used_endpoints("score")} == set(plain.chat.endpoints)


def test_what_the_reader_must_know_of_a_method_comes_beside_that_of_the_data() -> None:
    plain, told = load_settings(BASE).caveats, load_settings("phantom-povid-stage-1").caveats
    assert told[: len(plain)] == plain
    assert any("POVID" in caveat for caveat in told[len(plain) :])


def test_a_recipe_extends_another_and_null_takes_a_setting_back_to_its_default(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, f"extends: {BASE}\ntrain: {{lora: {{rank: null}}, epochs: 7}}\ncaveats: null")
    settings, parent = load_settings(recipe), load_settings(BASE)
    assert settings.train.lora.rank == RunSettings().train.lora.rank != parent.train.lora.rank
    assert settings.train.lora.alpha == parent.train.lora.alpha
    assert (settings.train.epochs, settings.caveats) == (7, ())


def test_a_recipe_extends_the_file_that_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "elsewhere").mkdir()
    _recipe(tmp_path / "recipes", "seed: 5", "parent.yaml")
    child = _recipe(tmp_path / "recipes", "extends: parent.yaml", "child.yaml")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_settings(child).seed == 5


def test_a_recipe_that_extends_itself_is_refused(tmp_path: Path) -> None:
    _recipe(tmp_path, "extends: b.yaml", "a.yaml")
    assert "extends itself" in _refused(_recipe(tmp_path, "extends: a.yaml", "b.yaml"))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("- a\n- b", "must be a mapping of settings, found list"),
        ("", "must be a mapping of settings, found NoneType"),
        ("train: [\nb: }", "is not valid YAML"),
        ("extends: 3", "extends=3 must be the name of a shipped recipe or a .yaml file"),
        ("extends: nobody", "unknown recipe 'nobody'"),
        ("extends: nobody.yaml", "nobody.yaml does not exist"),
        ("1: 2", "Keys should be strings"),
        ("a: !!python/object/apply:os.getcwd []", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_clear_line(tmp_path: Path, content: str, line: str) -> None:
    assert line in _refused(_recipe(tmp_path, content))


def test_a_recipe_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "does not exist" in _refused(tmp_path / "none.yaml")
    assert "cannot be read" in _refused(tmp_path / "folder.yaml")
    assert "it is not UTF-8 text" in _refused(tmp_path / "binary.yaml")


def test_settings_are_frozen_and_say_where_they_came_from() -> None:
    with pytest.raises(ConfigError, match=r"^my source: train\.beta=-1"):
        validate_settings({"train": {"beta": -1}}, "my source")
    with pytest.raises(ValueError, match="frozen"):
        RunSettings().seed = 1  # type: ignore[misc]


def test_what_is_inherited_and_made_idle_is_left_out_and_what_is_written_and_idle_is_refused(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: llava-med-slake\ncurate: {kinds: [visual]}\n")
    settings = load_settings(recipe, ["data.root=."])
    assert not settings.chat.endpoints
    assert settings.ground.tools == ("medklip", "annotation")
    (tmp_path / "below.yaml").write_text("extends: phantom-mmedpo\ncurate: {noise: {step: 500}}\n")
    recipe.write_text("extends: below.yaml\ncurate: {noise: {kind: blank}}\n")
    assert load_settings(recipe).curate.noise.kind == "blank"
    recipe.write_text("extends: llava-med-slake\ncurate: {kinds: [visual], judge: targeted}\n")
    with pytest.raises(ConfigError, match="curate.judge has no effect because curate.kinds has no text pairs"):
        load_settings(recipe, ["data.root=."])
    with pytest.raises(ConfigError, match="score.rounds has no effect because score.weights is 'none'"):
        load_settings("phantom-dpo", ["score.rounds=2"])


def test_what_an_override_makes_idle_in_the_recipe_is_left_out(tmp_path: Path) -> None:
    root = "data.root=/data/set"
    unweighted = load_settings("llava-med-slake", [root, "score.weights=none"])
    assert set(unweighted.chat.endpoints) == {"gpt"}
    imported = load_settings("llava-med-slake", [root, "preferences.path=/pairs.json"])
    assert (imported.chat.endpoints, imported.judging) == ({}, ())
    assert load_settings("phantom-mmedpo", ["train.tune=full"]).train.parts == ("language_model",)
    other_tool = load_settings("llava-med-slake", [root, "ground.tool=annotation"])
    assert (other_tool.ground.tools, other_tool.ground.options) == (("annotation",), {})
    elsewhere = ["data.dataset=vqa-rad", root, "ground.tool=annotation"]
    assert load_settings("phantom-mmedpo", elsewhere).data.groups == {}
    with pytest.raises(ConfigError, match=r"ground.options for 'medklip' has no effect: the tool is \['annotation'\]"):
        load_settings("phantom-mmedpo", ["ground.tool=annotation", "ground.options.medklip.checkpoint=/x"])
    # What is idle in the recipe itself stays a mistake of the recipe, whatever is laid over it.
    recipe = _recipe(tmp_path, "extends: llava-med-slake\ncurate: {kinds: [visual], judge: targeted}")
    with pytest.raises(ConfigError, match="curate.judge has no effect because curate.kinds has no text pairs"):
        load_settings(recipe, [root, "seed=3"])
    # And so does what two overrides say against each other.
    with pytest.raises(ConfigError, match="score.agents has no effect because score.weights is 'none'"):
        load_settings("phantom-mmedpo", ["score.weights=none", "score.agents=[rubric-internist]"])
