"""Tables of a study: arms laid over a dataset, a quick look, arms that ask a language model."""

from __future__ import annotations

import json
import re
import subprocess
import time
from importlib import resources
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import pytest

from mmedpo.config import dump_settings, load_settings
from mmedpo.errors import ConfigError, MMedPOError
from mmedpo.pipeline import table_plan
from mmedpo.pipeline.doctor.diagnosis import Diagnosis
from mmedpo.pipeline.grid import _Runner, at_a_time, choose_rate, run_table
from mmedpo.pipeline.table_check import check_study
from mmedpo.pipeline.table_plan import plan_table
from mmedpo.pipeline.tables import QUICK_PHANTOM, Study, Table, load_table, recipe_of, study
from mmedpo.progress import Silent
from mmedpo.recipes import read_recipe
from mmedpo.run.layout import LOG, RESOLVED

ASKING = ("phantom-self-rewarding", "phantom-sima")
TABLES = sorted(item.name.removesuffix(".yaml") for item in (resources.files("mmedpo.recipes") / "tables").iterdir())


@pytest.mark.parametrize("name", TABLES)
def test_every_arm_of_a_shipped_table_is_a_recipe_that_loads(name: str) -> None:
    table = load_table(name).over("phantom", ["chat.endpoints.self.model=m", "chat.endpoints.critic.model=m"])
    told = set()
    for arm, recipe in table.arms.items():
        overrides = [*table.settings, *table.quick().settings, *QUICK_PHANTOM, *table.own.get(arm, ())]
        asks = recipe.removesuffix("-after-sft") in ASKING
        asked = read_recipe(recipe)["curate"].get("judge", "").partition(":")[2] if asks else ""
        if asked:
            server = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "temperature": 0.7}
            overrides.append(f"chat.endpoints={json.dumps({asked: server})}")
        told.add(load_settings(recipe, overrides).model_dump_json(exclude={"description"}))
    assert len(told) == len(table.arms), "two names of one and the same run would be one arm"


@pytest.mark.parametrize(("keep", "chosen"), [("best", 0.001), ("last", 0.0001)])
def test_a_rate_is_chosen_by_the_adapter_that_its_run_keeps(tmp_path: Path, keep: str, chosen: float) -> None:
    looks = {0.0001: (0.50, 0.60, 0.70), 0.001: (0.50, 0.80, 0.40)}
    plan = Table(
        description="d", seeds=(0,), selection_seed=0, learning_rates=tuple(looks), arms={"DPO": "phantom-dpo"}
    )
    for rate, scores in looks.items():
        folder = tmp_path / plan.job("DPO", "phantom-dpo", 0, rate).name
        (folder / "train").mkdir(parents=True)
        settings = load_settings("phantom-dpo", [f"train.watch.keep={keep}"])
        (folder / RESOLVED).write_text(dump_settings(settings))
        log = [{"step": 50 * place, "probe_score": score} for place, score in enumerate(scores)]
        (folder / LOG).write_text(json.dumps(log))
    rate, told = choose_rate(tmp_path, "DPO", "phantom-dpo", plan, set())
    assert rate == chosen
    assert told[0.0001] == "0.7000"
    assert told[0.001] == ("0.8000" if keep == "best" else "0.4000")


def test_a_method_is_laid_over_any_dataset() -> None:
    assert recipe_of("phantom", "dpo") == "phantom-dpo"
    assert recipe_of("phantom", "mmedpo") == "phantom-mmedpo"
    assert recipe_of("vqa-rad", "mmedpo") == "vqa-rad"
    assert recipe_of("vqa-rad", "dpo-after-sft") == "vqa-rad-dpo-after-sft"
    assert recipe_of("anything", "vqa-rad-released") == "vqa-rad-released"
    with pytest.raises(ConfigError, match="no recipe of 'dop' on 'phantom'"):
        recipe_of("phantom", "dop")


TABLE = Table(
    description="d",
    seeds=(0, 1, 2),
    selection_seed=0,
    learning_rates=(1e-4, 2e-4, 5e-4),
    arms={"a": "mmedpo", "b": "dpo"},
    asking={"c": "self-rewarding"},
)


def test_an_arm_may_have_settings_of_its_own_and_is_a_run_of_its_own() -> None:
    table = Table.model_validate(
        {**TABLE.model_dump(), "arms": {"a": "dpo", "b": "dpo"}, "own": {"b": ["train.epochs=5"]}}
    )
    one, other = (table.job(arm, "phantom-dpo", 0, 1e-4) for arm in table.arms)
    assert (one.overrides, other.overrides) == ((), ("train.epochs=5",))
    assert one.name != other.name
    assert table.runs() == TABLE.runs() == 2 * (3 + 2)
    with pytest.raises(ValueError, match="own speaks of 'c2', which is no arm; arms: a, b"):
        Table.model_validate({**TABLE.model_dump(), "own": {"c2": ["train.epochs=5"]}})
    with pytest.raises(ValueError, match="paper speaks of 'd', which is no arm"):
        Table.model_validate({**TABLE.model_dump(), "paper": {"slake": {"base": {"mean": 1.0}, "d": {"mean": 1.0}}}})


def test_arms_that_ask_run_where_endpoints_are_given_and_are_told_of_where_not() -> None:
    without = TABLE.over("phantom", [])
    assert list(without.arms) == ["a", "b"]
    assert without.caveats[-1].startswith("c: not run, it asks a language model")
    asking = TABLE.over("phantom", ["chat.endpoints.self.model=m"])
    assert asking.arms["c"] == "phantom-self-rewarding"
    assert asking.caveats == ()
    other = TABLE.over("phantom", ["chat.endpoints.x.model=m"])
    assert "c" not in other.arms
    assert "chat.endpoints.self" in other.caveats[-1], "one that it does not ask is none to it"


@pytest.mark.parametrize("whole", [False, True])
def test_a_language_model_is_given_to_the_arms_that_ask_it_alone(whole: bool) -> None:
    """An arm without it would be refused, for there it would have no effect."""
    server = '{"base_url": "http://127.0.0.1:1/v1", "model": "m"}'
    given = f'chat.endpoints={{"self": {server}}}' if whole else f"chat.endpoints.self={server}"
    asking = study("table1", "phantom", False, [given])
    for arm in ("DPO", "SFT", "Self-Rewarding"):
        recipe = asking.plan.arms[arm]
        settings = load_settings(recipe, list(asking.settings_of(asking.plan.job(arm, recipe, 0, 1e-3))))
        assert list(settings.chat.endpoints) == (["self"] if arm == "Self-Rewarding" else [])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seeds": [0, 0]}, "a seed stands twice"),
        ({"seeds": [True]}, "true and false"),
        ({"selection_seed": -1}, "selection_seed=-1"),
        ({"learning_rates": [1e-4, 1.0000001e-4]}, "alike in six digits"),
        ({"learning_rates": [float("nan")]}, "finite"),
        ({"learning_rates": [-1e-4]}, "greater than 0"),
        ({"arms": {}}, "at least 1"),
        ({"arms": {"base": "dpo"}}, "rename it"),
        ({"arms": {"a|b": "dpo"}}, "no name of a row"),
        ({"arms": {"a\x1b[31m": "dpo"}}, "no name of a row"),
        ({"asking": {"a": "sima"}}, "'a' stands among arms and among asking"),
        ({"settings": ["seed=3"]}, "settings: seed=3 has no effect"),
        ({"own": {"a": ["train.learning_rate=1"]}}, "own, a: train.learning_rate=1 has no effect"),
        ({"own": {"a": ["train={learning_rate: 1}"]}}, "train.learning_rate=1 has no effect"),
        ({"panels": {"p": ["seed=1"]}}, "panels, p: seed=1 has no effect"),
        ({"own": {"a": []}}, "own says nothing of 'a'"),
        ({"leaders": ["a", "a"]}, "'a' stands twice"),
        ({"paper": {"slake": {"a": {"acuracy": 3}}}}, "'acuracy', which is no metric"),
        ({"paper": {"slak": {"a": {"mean": 3}}}}, "'slak', which is no dataset"),
        ({"settings": ["nonsense"]}, "settings: --set 'nonsense' is not of the form"),
        ({"rates": [1]}, "unknown setting 'rates'"),
        ({"description": None}, "description=None"),
    ],
)
def test_a_table_that_says_nothing_or_the_same_twice_is_refused_in_one_line(change, why, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps({**TABLE.model_dump(mode="json"), **change}).replace("NaN", ".nan"))
    with pytest.raises(ConfigError, match=re.escape(why)) as refused:
        load_table(str(file))
    assert str(refused.value).isprintable()
    assert "pydantic" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "3", "[1, 2]", "arms: {a: dpo}", "description: d\nseeds: [0]"])
def test_what_a_table_needs_is_told(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match="description, seeds, selection_seed, learning_rates, arms"):
        load_table(str(file))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match="unknown table"):
        load_table(str(tmp_path / "folder.yaml"))


@pytest.mark.parametrize("override", ["seed=3", "train.learning_rate=1e-3", "train={learning_rate: 1.0e-3}"])
def test_what_a_table_sets_in_every_run_cannot_be_overridden(override: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set: .* has no effect, every run is given one of the table's"):
        study("table1", "phantom", False, [override])


TWICE = {"arms": {"a": "mmedpo", "b": "mmedpo"}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (TWICE, "arms 'a' and 'b' are one and the same run"),
        ({**TWICE, "own": {"b": ["train.epochs=2"]}}, "one and the same run"),  # as its recipe says
        ({"own": {"b": ["data.phantom.seed=5"]}}, "arm 'b' has other settings of data than 'a'"),
        ({"own": {"b": ["evaluate.splits=[test]"]}}, "arm 'b' has other settings of evaluate"),
        ({"own": {"b": ["model.dtype=bfloat16"]}}, "arm 'b' has other settings of model"),
        ({"own": {"b": ["train.epohcs=5"]}}, "arm 'b': phantom-dpo: unknown setting 'train.epohcs'"),
        ({"panels": {"p": ["score.rounds=1"], "q": ["score.rounds=1"]}}, "panels 'p' and 'q' have the same settings"),
        ({"panels": {"p": ["train.epochs=1"]}}, "panel 'p' changes train"),
        ({"arms": {"b": "dpo"}, "panels": {"p": ["score.rounds=1"]}}, "holds no debates"),
        ({"arms": {"a": "mmedpo", "b": "nowhere.yaml"}}, "arm 'b': recipe file nowhere.yaml does not exist"),
    ],
)
def test_a_table_that_would_compare_the_wrong_things_is_refused_before_its_first_run(
    change: dict[str, object], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a run was begun"))
    table = Table.model_validate({**TABLE.model_dump(), "asking": {}, **change}).over("phantom", [])
    with pytest.raises(ConfigError, match=re.escape(why)):
        run_table(Study("t", table, (), "c", "t"), tmp_path / "runs", tmp_path, 1, Silent())


def test_methods_that_are_one_over_a_dataset_are_told_of() -> None:
    """VQA-RAD has no visual pairs: both stages are the first alone."""
    notes = check_study(study("table2", "vqa-rad", False, ["data.root=x"]))
    assert notes[0] == "both stages, weighted and stage 1, weighted: one and the same method over these data (vqa-rad)."


def test_a_setting_that_one_arm_cannot_use_is_found_before_the_first_run() -> None:
    with pytest.raises(ConfigError, match=r"arm 'SimPO': train\.beta=0\.5 has no effect"):
        check_study(study("benchmark", "phantom", False, ["train.beta=0.5"]))


def test_a_recipe_of_ones_own_is_an_arm_whose_runs_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: phantom-dpo\ntrain: {beta: 0.3}\n")
    table = TABLE.model_copy(update={"arms": {"a": "mmedpo", "b": str(tmp_path / "mine.yaml")}, "asking": {}})
    mine = Study("t", table.over("phantom", []), (), "c", "t")
    assert check_study(mine) == []
    assert mine.plan.job("b", mine.plan.arms["b"], 0, 1e-4).name == "mine-seed0-lr0.0001"


@pytest.mark.parametrize(("code", "outcome"), [(1, {"a"}), (-9, None)])
def test_a_killed_run_is_no_collapse_whatever_an_earlier_one_said(
    code: int, outcome: set[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = TABLE.over("phantom", []).job("a", "phantom-mmedpo", 0, 1e-4)
    (tmp_path / f"{job.name}.log").write_text("error: degenerate; training stopped. Lower it\n")

    def run(command: list[str], *, stdout: IO[str], **_: object) -> SimpleNamespace:
        stdout.write("error: degenerate; training stopped. Lower it\n" if code > 0 else "\x1b[31m\n")
        stdout.flush()
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(subprocess, "run", run)
    runner = _Runner(tmp_path, Study("t", TABLE.over("phantom", []), (), "c", "t"), 1, Silent(), [])
    if outcome:
        assert {one.arm for one in runner.all([job], None)} == outcome
        return
    with pytest.raises(MMedPOError, match="exit code -9") as failed:
        runner.all([job], None)
    assert str(failed.value).isprintable()


def test_runs_are_counted_once_and_a_quick_look_has_one_seed_and_rate() -> None:
    # Two arms at three rates on the selection seed, and both on two further seeds.
    assert TABLE.over("phantom", []).runs() == 2 * 3 + 2 * 2
    quick = TABLE.over("phantom", []).quick()
    assert (quick.seeds, quick.learning_rates, quick.runs()) == ((0,), (2e-4,), 2)
    assert "no result" in quick.caveats[0]


def test_each_run_at_a_time_may_have_a_gpu_of_its_own() -> None:
    assert at_a_time(None, "") == (2, [])
    assert at_a_time(3, "") == (3, [])
    assert at_a_time(None, "1,0,3") == (3, ["1", "0", "3"])
    for jobs, gpus, why in (
        (0, "", "at least one"),
        (None, "0,0", "different GPUs"),
        (None, "a", "numbers"),
        (2, "0", "one of its own"),
    ):
        with pytest.raises(ConfigError, match=why):
            at_a_time(jobs, gpus)


def test_no_two_runs_see_one_gpu_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each process is told; no run gets as far as to use one."""
    at_work: list[str] = []
    told: list[str] = []

    def run(command: list[str], *, env: dict[str, str], **_: object) -> SimpleNamespace:
        own = env["CUDA_VISIBLE_DEVICES"]
        assert own not in at_work
        at_work.append(own)
        told.append(own)
        time.sleep(0.02)
        at_work.remove(own)
        return SimpleNamespace(returncode=2)

    monkeypatch.setattr(subprocess, "run", run)
    table = study("table2", "phantom", False, [])
    with pytest.raises(MMedPOError, match="exit code 2: no output"):
        run_table(table, tmp_path / "runs", tmp_path / "out", 2, Silent(), ["4", "7"])
    assert {*told} == {"4", "7"}


def test_a_plan_tells_what_every_arm_takes_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = [f"data.phantom.{split}_images=2" for split in ("train", "validation", "test")]
    table = TABLE.over("phantom", []).model_copy(update={"arms": {"b": "phantom-dpo"}})
    lines = list(plan_table(Study("t", table, tuple(small), "c", "t"), 2, Silent()))
    assert lines[:2] == ["1 arms, 3 seeds, 3 learning rates: 5 runs", "b (phantom-dpo): 5 runs, each"]
    assert [line.split()[0] for line in lines[2:-1]] == ["questions", "calls", "memory", "disk", "time"]
    assert lines[-1].startswith("all of it: ")
    assert " s, 2 runs at a time" in lines[-1]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "told"), [(60.0, "all of it: 5 min 00 s, 2 runs"), (None, "all of it: the time is not known")]
)
def test_the_time_of_a_plan_is_that_of_all_runs_or_not_known(
    seconds: float | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two arms of five runs of a minute, two at a time; what is suspicious of an arm is told."""
    found = Diagnosis(seconds=seconds)
    found.warn("memory is tight")
    monkeypatch.setattr(table_plan, "plan_recipe", lambda *_, **__: found)
    lines = list(plan_table(Study("t", TABLE.over("phantom", []), (), "c", "t"), 2, Silent()))
    assert lines[-1].startswith(told)
    assert lines.count("  warning: memory is tight") == 2


def test_a_study_tells_the_command_that_makes_it_again() -> None:
    quick = study("table3", "phantom", True, ["train.beta=0.5"])
    assert quick.command == "mmedpo reproduce table3 --quick --set train.beta=0.5"
    assert (quick.name, quick.overrides[-1]) == ("table3-quick", "train.beta=0.5")
    assert set(QUICK_PHANTOM) < set(quick.overrides)
    assert study("table3", "phantom", False, ["evaluate.splits=[test, x]"]).command.endswith(
        "'evaluate.splits=[test, x]'"
    )
    other = study("table3", "vqa-rad", False, [])
    assert (other.name, other.command) == ("table3-vqa-rad", "mmedpo reproduce table3 --dataset vqa-rad")


def test_only_tables_that_set_nothing_of_their_own_share_their_runs() -> None:
    def folder(table: str, quick: bool = False, *overrides: str) -> str:
        return study(table, "phantom", quick, overrides).folder

    assert folder("table1") == folder("table3") == folder("benchmark")
    assert folder("table1", True) == folder("table3", True) != folder("table1")
    # Other images, settings of one arm, panels, and overrides: the same name would be another run.
    own = [folder("table3", False, "train.beta=0.5"), *map(folder, ("beyond", "mirrored", "agents", "table3"))]
    assert len(set(own)) == 5
