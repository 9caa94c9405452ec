"""Which stages a recipe has, in which order, and from which model each round goes on."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from mmedpo.config import validate_settings
from mmedpo.errors import ConfigError, RunFolderError
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.recipes import shipped_recipes
from mmedpo.run import Run, open_run
from mmedpo.run.layout import EXAMPLES

LOOP = ["curate", "score", "train"]
END = ["predict-base", "predict-tuned", "evaluate", "report"]


def names(raw: dict) -> list[str]:
    return [stage.name for stage in plan(validate_settings(raw, "test"))]


def test_the_loop() -> None:
    assert names({}) == ["data", "ground", *LOOP, *END]
    assert names({"curate": {"kinds": ["text"]}, "finetune": {}}) == ["data", "finetune", *LOOP, *END]


def test_rounds_sample_and_refer_to_the_model_of_the_round_before() -> None:
    stages = plan(validate_settings({"rounds": 3, "curate": {"kinds": ["text"]}}, "test"))
    assert [s.name for s in stages] == ["data", *(f"rounds/{n}/{name}" for n in (1, 2, 3) for name in LOOP), *END]
    by_name = {stage.name: stage for stage in stages}
    for name in ("curate", "train"):
        assert [by_name[f"rounds/{n}/{name}"].models for n in (1, 2, 3)] == [("base",), ("round-1",), ("round-2",)]
    assert by_name["rounds/2/score"].place("curated.parquet") == "rounds/2/curated.parquet"
    assert by_name["rounds/2/curate"].place("examples.parquet") == "examples.parquet"
    assert by_name["report"].place("pairs.parquet") == "rounds/3/pairs.parquet"


@pytest.mark.parametrize(
    "raw",
    [
        {"rounds": 2, "train": {"method": "sft"}},
        {"rounds": 2, "train": {"tune": "full"}},
        {"rounds": 2, "preferences": {"path": "pairs.json"}},
        {"rounds": 0},
    ],
)
def test_rounds_that_cannot_be_are_refused(raw: dict) -> None:
    with pytest.raises(ConfigError, match="rounds"):
        validate_settings(raw, "test")


def test_every_stage_declares_what_the_stages_before_it_write() -> None:
    """Nothing is read that no stage writes, in any shipped recipe."""
    for recipe in shipped_recipes():
        from mmedpo.recipes import read_recipe

        raw = read_recipe(recipe)
        raw.pop("preferences", None)
        raw.setdefault("data", {}).pop("root", None)
        raw["data"] = {"dataset": "phantom"}
        raw.get("curate", {}).get("noise", {}).pop("tissue", None)  # loading takes it out where it has no effect
        asked = raw.get("curate", {}).get("judge", "").partition(":")[2]
        if asked:
            server = {"base_url": "http://127.0.0.1:1/v1", "model": "m", "temperature": 0.7}
            raw.setdefault("chat", {}).setdefault("endpoints", {}).setdefault(asked, server)
        if raw.pop("model", None):
            raw["ground"] = {"tool": "annotation"}  # the model's and the tool's files are the user's
        written: set[str] = set()
        for stage in plan(validate_settings(raw, recipe)):
            assert set(stage.placed(stage.reads)) <= written, (recipe, stage.name)
            written |= set(stage.placed(stage.writes))


def test_a_plan_needs_no_torch() -> None:
    code = (
        "import sys; from mmedpo.config import RunSettings; from mmedpo.pipeline.plan import plan; plan(RunSettings());"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOSPC])
def test_what_the_system_refuses_between_two_stages_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    settings = validate_settings(
        {"data": {"phantom": {"train_images": 4, "validation_images": 2, "test_images": 2}}}, "test"
    )
    read = Run.read

    def refusing(run: Run, relative: str, *more: object) -> object:
        if run.stage is None and relative == EXAMPLES:
            raise OSError(number, "refused", str(run.path / relative))
        return read(run, relative, *more)

    monkeypatch.setattr(Run, "read", refusing)
    with open_run(tmp_path / "run", settings) as run, pytest.raises(RunFolderError, match=EXAMPLES):
        run_stages(run, until="data")
    monkeypatch.undo()
    with open_run(tmp_path / "run", settings) as run:
        run_stages(run, until="data")
