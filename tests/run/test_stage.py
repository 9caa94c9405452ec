"""A stage is handed what it declares and nothing else, and its fingerprint knows all of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmedpo.config import RunSettings, validate_settings
from mmedpo.errors import ConfigError, RunFolderError
from mmedpo.records import Drop
from mmedpo.run import BASE, TUNED, Run, Stage, in_folder, open_run, picked
from mmedpo.run.layout import FINETUNED
from mmedpo.run.slots import slot_of
from mmedpo.storage.tables import write_text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "r"


def copying(source: str, target: str) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        write_text(run.file(target), run.file(source).read_text())

    return work


@pytest.mark.parametrize("asked", ["b.txt", "folder/b.txt", "a.txt.other"])
def test_a_read_that_is_not_declared_is_an_error(path: Path, asked: str) -> None:
    stage = Stage("copy", copying(asked, "c.txt"), {}, reads=("a.txt",), writes=("c.txt",))
    with open_run(path, RunSettings()) as run:
        for name in ("a.txt", "b.txt"):
            write_text(run.file(name), name)
        with pytest.raises(RunFolderError, match="which it does not declare"):
            run.execute(stage)
        assert not run.file("c.txt").exists()


def test_a_write_that_is_not_declared_is_an_error(path: Path) -> None:
    stage = Stage("copy", copying("a.txt", "elsewhere.txt"), {}, reads=("a.txt",), writes=("c.txt",))
    with open_run(path, RunSettings()) as run:
        write_text(run.file("a.txt"), "a")
        with pytest.raises(RunFolderError, match=r"asked for elsewhere\.txt"):
            run.execute(stage)


def test_what_is_declared_as_a_folder_is_handed_out_with_what_lies_in_it(path: Path) -> None:
    stage = Stage("copy", copying("images/1.txt", "out/2.txt"), {}, reads=("images",), writes=("out",))
    with open_run(path, RunSettings()) as run:
        write_text(run.file("images/1.txt"), "one")
        run.execute(stage)
        assert run.file("out/2.txt").read_text() == "one"


def test_an_optional_file_may_be_missing_and_its_coming_wakes_the_stage(path: Path) -> None:
    def work(run: Run) -> None:
        extra = run.file("extra.txt")
        write_text(run.file("out.txt"), extra.read_text() if extra.exists() else "nothing")

    stage = Stage("show", work, {}, optional=("extra.txt",), writes=("out.txt",))
    with open_run(path, RunSettings()) as run:
        assert run.execute(stage)
        assert run.file("out.txt").read_text() == "nothing"
        assert not run.execute(stage)
        write_text(run.file("extra.txt"), "more")
        assert run.execute(stage)
        assert run.file("out.txt").read_text() == "more"
        run.file("extra.txt").unlink()
        assert run.execute(stage)


def test_a_model_that_is_loaded_is_read(path: Path) -> None:
    """A stage that loads `tuned` waits for the adapter, and works anew when it changed."""
    stage = Stage("predict", lambda run: write_text(run.file("p.txt"), "p"), {}, writes=("p.txt",), models=(TUNED,))
    with open_run(path, RunSettings()) as run:
        with pytest.raises(RunFolderError, match="reads adapter"):
            run.execute(stage)
        write_text(run.file("adapter/weights"), "1")
        assert run.execute(stage)
        assert not run.execute(stage)
        write_text(run.file("adapter/weights"), "2")
        assert run.execute(stage)


def test_stages_in_a_folder_read_each_other_there_and_all_else_where_it_lies(path: Path) -> None:
    first = Stage("make", copying("given.txt", "made.txt"), {}, reads=("given.txt",), writes=("made.txt",))
    second = Stage("use", copying("made.txt", "used.txt"), {}, reads=("made.txt",), writes=("used.txt",))

    def dropping(run: Run) -> None:
        copying("given.txt", "made.txt")(run)
        run.write_drops([Drop(stage=run.current, item="x", reason="y")])

    with open_run(path, RunSettings()) as run:
        write_text(run.file("given.txt"), "given")
        for number in (1, 2):
            for stage in in_folder(
                f"rounds/{number}", [Stage("make", dropping, {}, first.reads, first.writes), second]
            ):
                run.execute(stage)
        found = {p.relative_to(path).as_posix() for p in path.rglob("*.txt")}
        assert found == {"given.txt", *(f"rounds/{n}/{name}.txt" for n in (1, 2) for name in ("made", "used"))}
        assert [drop.stage for drop in run.drops()] == ["rounds/1/make", "rounds/2/make"]


def test_a_killed_stage_in_a_folder_has_its_earlier_outputs_back(path: Path) -> None:
    (stage,) = in_folder("rounds/1", [Stage("make", lambda run: write_text(run.file("m"), "1"), {}, writes=("m",))])

    def die(run: Run) -> None:
        raise KeyboardInterrupt

    with open_run(path, RunSettings()) as run:
        run.execute(stage)
        state = run.manifest.stages["rounds/1/make"]
        aside = run.path / ".work" / "rounds/1/make.earlier"
        write_text(aside / ".state.json", state.model_dump_json())
        write_text(aside / "rounds/1/m", "kept aside by a process that was killed")
    with open_run(path) as run:
        assert run.file("rounds/1/m").read_text() == "kept aside by a process that was killed"


def test_settings_are_picked_by_name() -> None:
    settings = validate_settings({"seed": 7, "train": {"beta": 0.2}}, "test")
    assert picked(settings, "seed", "train.beta") == {"seed": 7, "train.beta": 0.2}


def test_models_have_names_and_say_what_they_are_made_of(tmp_path: Path) -> None:
    plain = validate_settings({}, "test")
    assert slot_of(plain, tmp_path, BASE).reads == ()
    assert slot_of(plain, tmp_path, TUNED).results == (tmp_path / "adapter",)
    tuned = slot_of(validate_settings({"finetune": {}}, "test"), tmp_path, TUNED)
    assert tuned.checkpoint.name == str(tmp_path / FINETUNED)
    assert tuned.reads == (FINETUNED, "adapter")
    rounds = validate_settings({"rounds": 3}, "test")
    folders = tuple(tmp_path / f"rounds/{number}/adapter" for number in (1, 2, 3))
    assert slot_of(rounds, tmp_path, "round-2").results == folders[:2]
    assert slot_of(rounds, tmp_path, TUNED).results == folders
    with pytest.raises(ConfigError, match="no model 'round-4'; it has base, round-1, round-2, round-3, tuned"):
        slot_of(rounds, tmp_path, "round-4")
