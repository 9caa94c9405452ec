"""The registry: unknown names list the known ones, no name means two things, and outsiders need no change here."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

from mmedpo import registry
from mmedpo.config import load_settings
from mmedpo.errors import ConfigError
from mmedpo.evaluate.protocols.judgement import AnswerProtocol
from mmedpo.registry import Kind, lookup, names, register
from mmedpo.report.section import Section
from outside import install, run_python

LIGHT: tuple[Kind, ...] = (
    "dataset", "grounder", "noise", "source", "judge", "agent", "weighting", "protocol", "preference-format", "executor"
)  # fmt: skip
"""Kinds whose pieces never load torch."""


@pytest.mark.parametrize("kind", LIGHT)
def test_an_unknown_name_lists_the_known_ones(kind: Kind) -> None:
    known = names(kind)
    assert known == sorted(known) != []
    with pytest.raises(ConfigError) as caught:
        lookup(kind, "no-such")
    assert str(caught.value) == f"unknown {kind} 'no-such'; known: {', '.join(known)}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("phantm", "unknown dataset 'phantm'; did you mean 'phantom'? known: iu-xray, "),
        ("x" * 5000, f"unknown dataset '{'x' * 60}'...; known: "),
        ("\x1b[31mred", r"unknown dataset '\x1b[31mred'; known: "),
    ],
    ids=["near", "long", "control characters"],
)
def test_an_unknown_name_is_one_short_line(name: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        lookup("dataset", name)
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("data.dataset=phantm", "data.dataset: unknown dataset 'phantm'; did you mean 'phantom'? "),
        ("ground.tool=patchprobe", "ground.tool: unknown grounder 'patchprobe'; did you mean 'patch-probe'? "),
        ("curate.noise.kind=difusion", "curate.noise.kind: unknown noise 'difusion'; did you mean 'diffusion'? "),
        ("curate.judge=contradict", "curate.judge: unknown judge 'contradict'; did you mean 'contradiction'? "),
        ("score.agents=[rubric-internist, rubic-language]", "score.agents: unknown agent 'rubic-language'; did you"),
        ("score.weights=rescaled", "score.weights: unknown weighting 'rescaled'; did you mean 'rescale'? "),
        ("evaluate.protocol=strikt", "evaluate.protocol: unknown protocol 'strikt'; did you mean 'strict'? "),
        ("data.phantm={seed: 1}", "unknown setting 'data.phantm'; did you mean 'phantom'? "),
        ("data.phantom.sead=1", "unknown setting 'data.phantom.sead'; did you mean 'seed'? known here: seed, size, "),
        ("data.phantom.size=5", "data.phantom.size=5: Input should be greater than or equal to 96"),
        ("data.splitt=official", "unknown setting 'data.splitt'; did you mean 'split'? "),
        ("data.slake.languages=[zh]", "data.slake has no effect because the dataset is 'phantom'"),
        ("data.fractions=[0.5, 0.2, 0.3]", "data.fractions has no effect because the phantom dataset is generated"),
    ],
)
def test_a_name_or_a_setting_of_a_piece_is_refused_with_the_recipe(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings("phantom-mmedpo", [setting])
    line = str(caught.value)
    assert line.startswith(f"phantom-mmedpo: {said}"), line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("{loss: sigmiod}", "unknown loss 'sigmiod'; did you mean 'sigmoid'?"),
        ("{loss: ipo, delta: 1}", "delta has no effect on loss 'ipo'"),
    ],
)
def test_a_loss_is_refused_before_anything_is_computed(tmp_path: Path, term: str, said: str) -> None:
    """Losses load torch, so they are looked up when a run starts that will train."""
    assert said in _refused_at_the_start(tmp_path, "phantom-mmedpo", f"train.objective=[{term}]")


@pytest.mark.parametrize(
    ("recipe", "setting", "said"),
    [
        ("phantom-rrpo", "train.tune=full", "set train.tune=lora, or remove the term"),
        ("phantom-sft-contrast", "train.batch_groups=1", "train.batch_groups=1 gives a step one image; raise it"),
        (
            "phantom-sft-contrast",
            "train.beta=0.5",
            "train.beta=0.5 has no effect because every term of train.objective",
        ),
        ("phantom-simpo", "train.beta=0.3", "train.beta=0.3 has no effect because every term of train.objective"),
        ("phantom-sft-weighted", "train.objective=[{loss: nll}]", "train.factors has no effect because no term of"),
        (
            "phantom-mmedpo",
            "train.objective=[{loss: sigmoid, weighted: false}]",
            "score.weights='rescale' has no effect because no term of",
        ),
        (
            "phantom-mmedpo",
            "train.objective=[{loss: sigmoid, kinds: [visual]}]",
            "score.agents would debate text pairs, whose weights no term",
        ),
        ("phantom-mmedpo", "score.agents=[]", "score.agents is empty, so no text pair has a score"),
        ("phantom-sft", "score={weights: raw}", "score.weights='raw' has no effect because train.method is 'sft'"),
        ("phantom-dpo", "train.objective=[{loss: sigmoid, weighted: true}]", "weighted: true has no effect because"),
    ],
)
def test_what_an_objective_cannot_do_is_refused_as_early(tmp_path: Path, recipe: str, setting: str, said: str) -> None:
    # The adapter's settings have no effect on all weights, and would be refused first.
    extra = ["train.lora={}"] if "full" in setting else []
    assert said in _refused_at_the_start(tmp_path, recipe, setting, *extra)


def test_training_on_another_gpu_than_the_first_is_refused_as_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    said = _refused_at_the_start(tmp_path, "phantom-mmedpo", "model.device=cuda:1")
    assert "set model.device=cuda and the environment's CUDA_VISIBLE_DEVICES=1" in said


def _refused_at_the_start(tmp_path: Path, recipe: str, *settings: str) -> str:
    from mmedpo import open_run, run_stages

    with open_run(tmp_path / "r", load_settings(recipe, list(settings))) as run:
        with pytest.raises(ConfigError) as caught:
            run_stages(run)
        assert not (run.path / "examples.parquet").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "dataset: llava-med, root: /d, table: {columns: {a: b}}",
            "unknown setting 'data.table.columns'; known here: ",
        ),
        (
            "dataset: vqa-rad, root: /d, phantom: {seed: 1}",
            "data.phantom has no effect because the dataset is 'vqa-rad'",
        ),
        ("dataset: slake, root: /d, slake: {languages: [en, fr]}", "data.slake.languages.1='fr': Input should be 'en'"),
        (
            "dataset: slake, root: /d, split: official, split_seed: 3",
            "data.split_seed has no effect because data.split",
        ),
        ("dataset: slake, root: /d, phantm: {seed: 1}", "unknown setting 'data.phantm'; known here: "),
        ("dataset: slake", "data.root is needed for dataset 'slake': the folder as downloaded"),
    ],
)
def test_a_dataset_knows_its_own_settings_and_no_others(tmp_path: Path, settings: str, said: str) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"data: {{{settings}}}")
    with pytest.raises(ConfigError) as caught:
        load_settings(recipe)
    assert said in str(caught.value)


def test_datasets_of_reports_share_their_group_and_defaults_are_written_out(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "data: {dataset: iu-xray, root: /d, reports: {views: all}, fractions: [0.8, 0.1, 0.1]}\ncurate: {kinds: [text]}"
    )
    data = load_settings(recipe).data
    assert data.groups["reports"]["views"] == "all"
    assert data.groups["reports"]["sections"] == ["findings", "impression"]
    assert (data.fractions, data.min_usable) == ((0.8, 0.1, 0.1), 0.5)


def test_the_pieces_that_the_defaults_name_exist() -> None:
    settings = load_settings("phantom-mmedpo")
    assert settings.data.dataset in names("dataset")
    assert set(settings.ground.tools) <= set(names("grounder"))
    assert set(settings.score.agents) <= set(names("agent"))


def test_a_name_that_is_taken_is_refused_and_both_owners_are_named(table: dict[tuple[str, str], typing.Any]) -> None:
    owner = lookup("dataset", "phantom")
    with pytest.raises(
        ConfigError, match=r"dataset 'phantom' is registered twice: by mmedpo\.data.* and by .*Impostor"
    ):

        @register("dataset", "phantom")
        class Impostor:
            pass

    assert lookup("dataset", "phantom") is owner


def test_a_name_may_be_used_once_in_every_kind(table: dict[tuple[str, str], typing.Any]) -> None:
    @register("agent", "phantom")
    class Agent:
        def first(self, case: object) -> None: ...

        def respond(self, case: object, history: object) -> None: ...

    assert lookup("agent", "phantom") is Agent
    assert lookup("dataset", "phantom") is not Agent


def test_a_module_that_is_imported_again_is_no_second_owner(table: dict[tuple[str, str], typing.Any]) -> None:
    def define() -> type:
        @register("dataset", "twice")
        class Twice:
            name, data_use = "twice", "open"

            def read(self, root: Path, settings: object) -> None: ...

        return Twice

    define()
    assert lookup("dataset", "twice") is not None
    newest = define()
    assert lookup("dataset", "twice") is newest


@pytest.mark.parametrize("kind", typing.get_args(Kind))
def test_every_piece_of_ours_has_what_its_kind_must_have(kind: Kind) -> None:
    assert {name: registry.missing(kind, lookup(kind, name)) for name in names(kind)} == {n: [] for n in names(kind)}


class _Inherits(AnswerProtocol):
    """The seam's own method says nothing."""


LACKING: list[tuple[Kind, type, str]] = [
    ("protocol", _Inherits, "score()"),
    ("dataset", type("D", (), {"name": "d", "data_use": "open", "raed": print}), "read()"),
    ("dataset", type("D", (), {"read": print}), "name, data_use"),
    ("noise", type("N", (), {"apply": print}), "options"),
    ("loss", type("L", (), {"options": (), "regulariser": False, "whole_families": False}), "__call__()"),
    ("agent", type("A", (), {"first": print, "respond": print, "asks": True}), "first_request()"),
    ("judge", type("J", (), {"name": "j"}), "judge()"),
    ("source", type("S", (), {"draws": True}), "candidates()"),
    ("weighting", type("W", (), {"options": frozenset(), "derive": print}), "describe()"),
    ("section", type("S", (Section,), {"heading": "h", "order": 1, "template": "t"}), "gather()"),
    ("chat-model", type("C", (), {"complete": print}), "close()"),
    ("answer-format", type("F", (), {"columns": frozenset()}), "parse()"),
    ("executor", type("E", (), {"map": print}), "stream()"),
]


@pytest.mark.parametrize(
    ("kind", "piece", "lacking"), LACKING, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_piece_that_lacks_something_is_refused_when_it_is_looked_up(
    kind: Kind, piece: type, lacking: str, table: dict[tuple[str, str], typing.Any]
) -> None:
    register(kind, "half")(piece)
    with pytest.raises(ConfigError) as caught:
        lookup(kind, "half")
    line = str(caught.value)
    assert line.startswith(f"{kind} 'half' (")
    assert f") has no {lacking}; mmedpo." in line
    assert "\n" not in line


def test_a_section_from_outside_that_lacks_something_ends_the_run_before_it_begins(
    tmp_path: Path, table: dict[tuple[str, str], typing.Any]
) -> None:
    from mmedpo import open_run, run_stages

    names("section")
    register("section", "half")(type("S", (Section,), {"heading": "h", "order": 1, "template": "t"}))
    with open_run(tmp_path / "r", load_settings("phantom-mmedpo")) as run:
        with pytest.raises(ConfigError, match=r"section 'half' \(.*\) has no gather\(\)"):
            run_stages(run)
        assert not (run.path / "examples.parquet").exists()


def test_asking_for_data_agents_tools_or_formats_loads_no_torch() -> None:
    code = f"""
import sys
from mmedpo.registry import names
for kind in {LIGHT!r}:
    names(kind)
print([name for name in ("torch", "transformers", "peft") if name in sys.modules])
"""
    assert run_python(code).stdout == "[]\n"


# Packages from outside.


def test_an_installed_package_brings_a_dataset_without_a_change_here(tmp_path: Path) -> None:
    outside = install(tmp_path / "site")
    listed = run_python("from mmedpo.registry import names; print(*names('dataset'))", outside)
    assert listed.stderr == ""
    assert "colours" in listed.stdout.split()
    assert "phantom" in listed.stdout.split()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("import no_such_package_at_all", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        (
            "from mmedpo.registry import register\n@register('dataset', 'phantom')\nclass Other: pass",
            "dataset 'phantom' is registered twice",
        ),
    ],
    ids=["cannot be imported", "takes a name of ours"],
)
def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path, content: str, why: str) -> None:
    outside = install(tmp_path / "site")
    (outside / "mmedpo_colours" / "__init__.py").write_text(content)
    code = """
from mmedpo.errors import ConfigError
from mmedpo.registry import names
try:
    names("dataset")
except ConfigError as error:
    print(error)
"""
    done = run_python(code, outside)
    assert done.stderr == ""
    assert done.stdout.startswith("plug-in 'colours' (mmedpo_colours) cannot be loaded: ")
    assert why in done.stdout
    assert done.stdout.count("\n") == 1


def test_the_page_on_plugins_names_every_kind() -> None:
    page = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text()
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert listed == set(typing.get_args(Kind))


def test_a_module_that_registers_a_piece_from_outside_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process knows nothing of it unless it imports it."""
    from mmedpo import registry

    names("loss")
    monkeypatch.setattr(registry, "_TABLE", {key: one for key, one in registry._TABLE.items() if key[0] == "loss"})
    before = registry.strangers()

    class Own:
        pass

    Own.__module__ = "somebodys.losses"
    registry.register("loss", "own")(Own)
    assert registry.strangers() - before == {"somebodys.losses"}
    assert not any(module.startswith("mmedpo") for module in registry.strangers())
