"""The run folder: what is done is not done again, what changed is, and a failure loses nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mmedpo.errors import RunFolderError
from mmedpo.records import Drop
from mmedpo.run import Run, Stage, open_run, read_run
from mmedpo.storage.files import hash_path
from mmedpo.storage.tables import write_text
from small_stages import Log, chain, execute, failing, files_of, names_in


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r"


# What is done, and what is done again.


def test_a_finished_run_is_not_computed_again(run_path: Path) -> None:
    log: Log = []
    execute(run_path, chain(log), given="5")
    assert run_path.joinpath("show.txt").read_text() == "= 11"
    execute(run_path, chain(log))
    assert log == ["multiply", "add", "show"]


@pytest.mark.parametrize(
    ("factor", "offset", "again", "shown"),
    [(3, 1, ["multiply", "add", "show"], "= 16"), (2, 0, ["add", "show"], "= 10")],
    ids=["setting of the first stage", "setting of the middle stage"],
)
def test_a_changed_setting_runs_its_stage_and_all_that_read_from_it(
    run_path: Path, factor: int, offset: int, again: list[str], shown: str
) -> None:
    execute(run_path, chain([]), given="5")
    log: Log = []
    execute(run_path, chain(log, factor, offset))
    assert log == again
    assert run_path.joinpath("show.txt").read_text() == shown


def test_a_changed_input_file_runs_everything_that_reads_from_it(run_path: Path) -> None:
    execute(run_path, chain([]), given="5")
    log: Log = []
    execute(run_path, chain(log), given="6")
    assert log == ["multiply", "add", "show"]
    assert run_path.joinpath("show.txt").read_text() == "= 13"


def test_a_stage_that_gives_the_same_bytes_again_does_not_wake_its_readers(run_path: Path) -> None:
    """0 * 2 = 0 * 3: the product is the same file, so nothing after it can differ."""
    execute(run_path, chain([]), given="0")
    log: Log = []
    execute(run_path, chain(log, factor=3))
    assert log == ["multiply"]


def test_an_edited_output_stays_and_its_readers_run_again(run_path: Path) -> None:
    execute(run_path, chain([]), given="5")
    run_path.joinpath("sum.txt").write_text("77")
    log: Log = []
    execute(run_path, chain(log))
    assert log == ["show"]
    assert run_path.joinpath("show.txt").read_text() == "= 77"


def test_touching_an_output_without_changing_it_runs_nothing(run_path: Path) -> None:
    execute(run_path, chain([]), given="5")
    os.utime(run_path / "sum.txt", ns=(1, 1))
    log: Log = []
    execute(run_path, chain(log))
    assert log == []


def test_a_deleted_output_is_made_again(run_path: Path) -> None:
    execute(run_path, chain([]), given="5")
    run_path.joinpath("sum.txt").unlink()
    log: Log = []
    execute(run_path, chain(log))
    assert log == ["add"]
    assert run_path.joinpath("sum.txt").read_text() == "11"


def test_a_changed_file_inside_an_output_folder_is_noticed(run_path: Path) -> None:
    log: Log = []

    def fill(run: Run) -> None:
        log.append(run.current)
        for name in ("a", "b"):
            write_text(run.file(f"images/{name}.txt"), name)

    def join(run: Run) -> None:
        log.append(run.current)
        write_text(run.file("all.txt"), "".join(sorted(p.read_text() for p in run.file("images").iterdir())))

    stages = [Stage("fill", fill, {}, (), ("images",)), Stage("join", join, {}, ("images",), ("all.txt",))]
    execute(run_path, stages)
    run_path.joinpath("images/b.txt").write_text("longer")
    execute(run_path, stages)
    assert log == ["fill", "join", "join"]
    assert run_path.joinpath("all.txt").read_text() == "alonger"


def test_a_folders_hash_knows_names_and_contents(tmp_path: Path) -> None:
    hashes = set()
    for number, (name, content) in enumerate([("a", "x"), ("b", "x"), ("a", "y")]):
        write_text(tmp_path / str(number) / name, content)
        hashes.add(hash_path(tmp_path / str(number)))
    assert len(hashes) == 3


def test_a_stage_whose_input_is_missing_says_which(run_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"stage 'multiply' reads given\.txt, which is not in"):
        execute(run_path, chain([]))


def test_a_stage_that_forgets_an_output_is_not_done(run_path: Path) -> None:
    lazy = Stage("lazy", lambda run: None, {}, (), ("never.txt",))
    with pytest.raises(RunFolderError, match=r"'lazy' finished without writing never\.txt"):
        execute(run_path, [lazy])
    with open_run(run_path) as run:
        assert not run.is_done(lazy)


# Failing stages.


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()], ids=["exception", "Ctrl-C"])
def test_a_failing_stage_leaves_everything_finished_as_it_was(run_path: Path, error: BaseException) -> None:
    log: Log = []
    multiply, add, show = chain(log)
    execute(run_path, [multiply, add, show], given="5")
    before, manifest = files_of(run_path), read_run(run_path).manifest

    def destroy(run: Run) -> None:
        write_text(run.file("sum.txt"), "half of the new one")

    with pytest.raises(type(error)):
        execute(run_path, [multiply, failing(add, error, destroy)])
    after = files_of(run_path)
    assert {name: after[name] for name in before} == before
    assert read_run(run_path).manifest == manifest
    execute(run_path, [multiply, add, show])
    assert log == ["multiply", "add", "show"], "with the old settings back, everything is still done"


def test_a_failing_stage_that_cleared_its_folder_gets_it_back(run_path: Path) -> None:
    def fill(run: Run) -> None:
        write_text(run.file("images/a.txt"), "earlier")
        run.write_drops([Drop(stage="fill", item="x", reason="earlier")])

    def clear(run: Run) -> None:
        assert not run.file("images").exists(), "a stage starts without what an earlier one left"
        write_text(run.file("images/b.txt"), "new")
        run.write_drops([Drop(stage="fill", item="x", reason="new")])

    first = Stage("fill", fill, {}, (), ("images",))
    execute(run_path, [first])
    with pytest.raises(ZeroDivisionError):
        execute(run_path, [failing(first, ZeroDivisionError(), clear)])
    assert names_in(run_path / "images") == ["a.txt"]
    with open_run(run_path) as run:
        assert run.is_done(first)
        assert [drop.reason for drop in run.drops()] == ["earlier"]


def test_a_stage_that_writes_fewer_files_than_before_leaves_no_old_ones(run_path: Path) -> None:
    def fill(*names: str) -> Stage:
        def work(run: Run) -> None:
            for name in names:
                write_text(run.file(f"images/{name}"), name)

        return Stage("fill", work, {"names": names}, (), ("images",))

    execute(run_path, [fill("a", "b")])
    execute(run_path, [fill("b")])
    assert names_in(run_path / "images") == ["b"]


@pytest.mark.parametrize(
    ("number", "line"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "the file system is read-only"), (errno.EACCES, "no permission")],
)
def test_a_disk_that_cannot_be_written_is_one_clear_line(run_path: Path, number: int, line: str) -> None:
    full = failing(Stage("save", lambda run: None, {}), OSError(number, os.strerror(number), "/disk/file"))
    with pytest.raises(RunFolderError, match=f"/disk/file cannot be used: {line}"):
        execute(run_path, [full])


def test_another_error_of_the_system_keeps_its_traceback(run_path: Path) -> None:
    with pytest.raises(OSError, match="a fault of ours"):
        execute(run_path, [failing(Stage("save", lambda run: None, {}), OSError(errno.EINVAL, "a fault of ours"))])


# Drops.


def test_drops_of_all_finished_stages_are_gathered(run_path: Path) -> None:
    def dropping(name: str, *reasons: str) -> Stage:
        def work(run: Run) -> None:
            run.write_drops([Drop(stage=name, item=f"{n}", reason=reason) for n, reason in enumerate(reasons)])

        return Stage(name, work, {"reasons": reasons})

    execute(run_path, [dropping("data", "unreadable-image"), dropping("curate", "no-conflict", "too-long")])
    execute(run_path, [dropping("data", "no-answer")])
    with open_run(run_path) as run:
        found = sorted((drop.stage, drop.reason) for drop in run.drops())
    assert found == [("curate", "no-conflict"), ("curate", "too-long"), ("data", "no-answer")]


def test_drops_of_an_earlier_execution_do_not_stay(run_path: Path) -> None:
    def once(again: bool) -> Stage:
        def work(run: Run) -> None:
            if not again:
                run.write_drops([Drop(stage="data", item="a", reason="old")])

        return Stage("data", work, {"again": again})

    execute(run_path, [once(False)])
    execute(run_path, [once(True)])
    with open_run(run_path) as run:
        assert run.drops() == []
