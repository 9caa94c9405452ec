"""Tables of a study: arms laid over a dataset, a quick look, arms that ask a language model."""

from __future__ import annotations

import json
import subprocess
import time
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmedpo.config import load_settings
from mmedpo.errors import ConfigError, MMedPOError
from mmedpo.pipeline import table_plan
from mmedpo.pipeline.doctor.diagnosis import Diagnosis
from mmedpo.pipeline.grid import at_a_time, run_table
from mmedpo.pipeline.table_plan import plan_table
from mmedpo.pipeline.tables import QUICK_PHANTOM, Study, Table, load_table, recipe_of, study
from mmedpo.progress import Silent
from mmedpo.recipes import read_recipe

ASKING = ("phantom-self-rewarding", "phantom-sima")
TABLES = sorted(item.name.removesuffix(".yaml") for item in (resources.files("mmedpo.recipes") / "tables").iterdir())


@pytest.mark.parametrize("name", TABLES)
def test_every_arm_of_a_shipped_table_is_a_recipe_that_loads(name: str) -> None:
    table = load_table(name).over("phantom", ["chat.endpoints.judge.model=m"])
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
    assert without.caveats[-1].startswith("c: not run, they ask a language model")
    asking = TABLE.over("phantom", ["chat.endpoints.x.model=m"])
    assert asking.arms["c"] == "phantom-self-rewarding"
    assert asking.caveats == ()


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
