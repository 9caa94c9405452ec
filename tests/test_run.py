"""The run folder: what is done is not done again, what changed is, and nothing is ever mixed or lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mmedpo.config import RunSettings, load_settings
from mmedpo.errors import RunFolderError
from mmedpo.files import hash_path
from mmedpo.manifest import FORMAT, MANIFEST
from mmedpo.records import Drop
from mmedpo.run import RESOLVED, Run, Stage, open_run, read_run
from mmedpo.tables import read_table, write_text

Log = list[str]


def _writes(name: str, content: Callable[[Run], str], log: Log) -> Callable[[Run], None]:
    def work(run: Run) -> None:
        log.append(run.current)
        write_text(run.file(name), content(run))

    return work


def _chain(log: Log, factor: int = 2, offset: int = 1) -> list[Stage]:
    """`given.txt` (from the user) -> double -> add -> show; each stage has one setting of its own."""

    def number(run: Run, name: str) -> int:
        return int(run.file(name).read_text())

    return [
        Stage(
            "multiply",
            _writes("product.txt", lambda run: str(number(run, "given.txt") * factor), log),
            {"factor": factor},
            ("given.txt",),
            ("product.txt",),
        ),
        Stage(
            "add",
            _writes("sum.txt", lambda run: str(number(run, "product.txt") + offset), log),
            {"offset": offset},
            ("product.txt",),
            ("sum.txt",),
        ),
        Stage(
            "show",
            _writes("show.txt", lambda run: f"= {number(run, 'sum.txt')}", log),
            {},
            ("sum.txt",),
            ("show.txt",),
        ),
    ]


def _execute(path: Path, stages: Sequence[Stage], given: str | None = None, donors: Sequence[Path] = ()) -> None:
    with open_run(path, RunSettings(), donors=donors) as run:
        if given is not None:
            write_text(run.file("given.txt"), given)
        for stage in stages:
            run.execute(stage)


def _failing(stage: Stage, error: BaseException, before: Callable[[Run], None] = lambda run: None) -> Stage:
    """The stage with another setting, breaking after `before`."""

    def work(run: Run) -> None:
        before(run)
        raise error

    return Stage(stage.name, work, {**stage.settings, "changed": True}, stage.reads, stage.writes)


def _files(path: Path) -> dict[str, bytes]:
    names = (".lock", MANIFEST)
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name not in names}


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r"


# What is done, and what is done again.


def test_a_finished_run_is_not_computed_again(run_path: Path) -> None:
    log: Log = []
    _execute(run_path, _chain(log), given="5")
    assert run_path.joinpath("show.txt").read_text() == "= 11"
    _execute(run_path, _chain(log))
    assert log == ["multiply", "add", "show"]


@pytest.mark.parametrize(
    ("factor", "offset", "again", "shown"),
    [(3, 1, ["multiply", "add", "show"], "= 16"), (2, 0, ["add", "show"], "= 10")],
    ids=["setting of the first stage", "setting of the middle stage"],
)
def test_a_changed_setting_runs_its_stage_and_all_that_read_from_it(
    run_path: Path, factor: int, offset: int, again: list[str], shown: str
) -> None:
    _execute(run_path, _chain([]), given="5")
    log: Log = []
    _execute(run_path, _chain(log, factor, offset))
    assert log == again
    assert run_path.joinpath("show.txt").read_text() == shown


def test_a_changed_input_file_runs_everything_that_reads_from_it(run_path: Path) -> None:
    _execute(run_path, _chain([]), given="5")
    log: Log = []
    _execute(run_path, _chain(log), given="6")
    assert log == ["multiply", "add", "show"]
    assert run_path.joinpath("show.txt").read_text() == "= 13"


def test_a_stage_that_gives_the_same_bytes_again_does_not_wake_its_readers(run_path: Path) -> None:
    """0 * 2 = 0 * 3: the product is the same file, so nothing after it can differ."""
    _execute(run_path, _chain([]), given="0")
    log: Log = []
    _execute(run_path, _chain(log, factor=3))
    assert log == ["multiply"]


def test_an_edited_output_stays_and_its_readers_run_again(run_path: Path) -> None:
    _execute(run_path, _chain([]), given="5")
    run_path.joinpath("sum.txt").write_text("77")
    log: Log = []
    _execute(run_path, _chain(log))
    assert log == ["show"]
    assert run_path.joinpath("show.txt").read_text() == "= 77"


def test_touching_an_output_without_changing_it_runs_nothing(run_path: Path) -> None:
    _execute(run_path, _chain([]), given="5")
    os.utime(run_path / "sum.txt", ns=(1, 1))
    log: Log = []
    _execute(run_path, _chain(log))
    assert log == []


def test_a_deleted_output_is_made_again(run_path: Path) -> None:
    _execute(run_path, _chain([]), given="5")
    run_path.joinpath("sum.txt").unlink()
    log: Log = []
    _execute(run_path, _chain(log))
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
    _execute(run_path, stages)
    run_path.joinpath("images/b.txt").write_text("longer")
    _execute(run_path, stages)
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
        _execute(run_path, _chain([]))


def test_a_stage_that_forgets_an_output_is_not_done(run_path: Path) -> None:
    lazy = Stage("lazy", lambda run: None, {}, (), ("never.txt",))
    with pytest.raises(RunFolderError, match=r"'lazy' finished without writing never\.txt"):
        _execute(run_path, [lazy])
    with open_run(run_path) as run:
        assert not run.is_done(lazy)


# Failing stages.


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()], ids=["exception", "Ctrl-C"])
def test_a_failing_stage_leaves_everything_finished_as_it_was(run_path: Path, error: BaseException) -> None:
    log: Log = []
    multiply, add, show = _chain(log)
    _execute(run_path, [multiply, add, show], given="5")
    before, manifest = _files(run_path), read_run(run_path).manifest

    def destroy(run: Run) -> None:
        write_text(run.file("sum.txt"), "half of the new one")

    with pytest.raises(type(error)):
        _execute(run_path, [multiply, _failing(add, error, destroy)])
    after = _files(run_path)
    assert {name: after[name] for name in before} == before
    assert read_run(run_path).manifest == manifest
    _execute(run_path, [multiply, add, show])
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
    _execute(run_path, [first])
    with pytest.raises(ZeroDivisionError):
        _execute(run_path, [_failing(first, ZeroDivisionError(), clear)])
    assert _names(run_path / "images") == ["a.txt"]
    with open_run(run_path) as run:
        assert run.is_done(first)
        assert [drop.reason for drop in run.drops()] == ["earlier"]


def test_a_stage_that_writes_fewer_files_than_before_leaves_no_old_ones(run_path: Path) -> None:
    def fill(*names: str) -> Stage:
        def work(run: Run) -> None:
            for name in names:
                write_text(run.file(f"images/{name}"), name)

        return Stage("fill", work, {"names": names}, (), ("images",))

    _execute(run_path, [fill("a", "b")])
    _execute(run_path, [fill("b")])
    assert _names(run_path / "images") == ["b"]


@pytest.mark.parametrize(
    ("number", "line"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "the file system is read-only"), (errno.EACCES, "no permission")],
)
def test_a_disk_that_cannot_be_written_is_one_clear_line(run_path: Path, number: int, line: str) -> None:
    full = _failing(Stage("save", lambda run: None, {}), OSError(number, os.strerror(number), "/disk/file"))
    with pytest.raises(RunFolderError, match=f"/disk/file cannot be used: {line}"):
        _execute(run_path, [full])


def test_another_error_of_the_system_keeps_its_traceback(run_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        _execute(run_path, [_failing(Stage("save", lambda run: None, {}), IsADirectoryError(errno.EISDIR, "a folder"))])


# Chunks, killed and resumed.

PROGRAM = textwrap.dedent(
    """
    import os, sys, time
    from pathlib import Path
    from mmedpo.config import RunSettings
    from mmedpo.records import Drop
    from mmedpo.run import Stage, open_run

    path, setting, hang_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

    def one_chunk(items):
        if items[0] >= hang_at:
            print("hanging", flush=True)
            time.sleep(600)
        with open(path.parent / "computed", "a") as log:
            log.write(f"{items[0]} ")
        return [Drop(stage="s", item=str(i), reason=setting) for i in items]

    def work(run):
        run.write("t.parquet", Drop, run.chunks("some items", range(10), 3, one_chunk, Drop))

    with open_run(path, RunSettings()) as run:
        run.execute(Stage("s", work, {"setting": setting}, (), ("t.parquet",)))
    """
)


def _start(path: Path, setting: str, hang_at: int = 99) -> subprocess.Popen[str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).resolve().parents[1] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-c", PROGRAM, str(path), setting, str(hang_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _kill_in_the_middle(path: Path, setting: str, hang_at: int) -> None:
    with _start(path, setting, hang_at) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hanging\n"
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def _finish(path: Path, setting: str) -> None:
    with _start(path, setting) as process:
        assert process.wait(60) == 0


def _computed(path: Path) -> list[str]:
    log = path.parent / "computed"
    chunks = log.read_text().split()
    log.unlink()
    return chunks


def test_a_killed_stage_goes_on_at_its_chunk_and_gives_the_same_table(run_path: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole" / "r"
    _finish(whole, "a")
    _kill_in_the_middle(run_path, "a", hang_at=6)
    assert not run_path.joinpath("t.parquet").exists()
    assert _computed(run_path) == ["0", "3"]
    _finish(run_path, "a")
    assert _computed(run_path) == ["6", "9"]
    assert run_path.joinpath("t.parquet").read_bytes() == whole.joinpath("t.parquet").read_bytes()
    assert not list(run_path.joinpath(".work").iterdir()), "finished work is cleared away"


def test_work_of_other_settings_is_thrown_away(run_path: Path) -> None:
    _kill_in_the_middle(run_path, "a", hang_at=6)
    _computed(run_path)
    _finish(run_path, "b")
    assert _computed(run_path) == ["0", "3", "6", "9"]
    assert {drop.reason for drop in read_table(run_path / "t.parquet", Drop)} == {"b"}


def test_a_stage_killed_while_it_replaces_its_outputs_gives_the_old_ones_back(run_path: Path) -> None:
    _finish(run_path, "a")
    _kill_in_the_middle(run_path, "b", hang_at=3)
    _computed(run_path)
    _finish(run_path, "a")
    assert not run_path.parent.joinpath("computed").exists(), "the old settings are still done"
    assert {drop.reason for drop in read_table(run_path / "t.parquet", Drop)} == {"a"}


class _Progress:
    """A reporter that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.messages: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def track(self, label: str) -> Callable[[int, int], None]:
        return lambda done, total: self.calls.append((done, total))


def test_progress_of_a_resumed_stage_starts_at_what_was_there(run_path: Path) -> None:
    def stage(fail_at: int) -> Stage:
        def chunk(items: Sequence[Any]) -> list[Drop]:
            if items[0] == fail_at:
                raise RuntimeError
            return [Drop(stage="s", item=str(item), reason="r") for item in items]

        return Stage("s", lambda run: run.write("t", Drop, run.chunks("x", range(5), 2, chunk, Drop)), {}, (), ("t",))

    with pytest.raises(RuntimeError):
        _execute(run_path, [stage(4)])
    reporter = _Progress()
    with open_run(run_path, RunSettings(), reporter) as run:
        run.execute(stage(-1))
        assert [drop.item for drop in run.read("t", Drop)] == ["0", "1", "2", "3", "4"]
    assert reporter.calls == [(4, 5), (5, 5)]


def test_every_line_of_a_stage_names_it(run_path: Path) -> None:
    reporter = _Progress()
    with open_run(run_path, RunSettings(), reporter) as run:
        run.execute(Stage("talk", lambda run: run.message("hello"), {}))
        run.message("and now")
    assert reporter.messages[0] == "[talk] hello"
    assert reporter.messages[-1] == "[r] and now"


# Lock.


def test_a_second_process_is_refused_and_told_who_has_the_run(run_path: Path) -> None:
    with _start(run_path, "a", hang_at=0) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(RunFolderError, match=f"in use by process {process.pid} on "), open_run(run_path):
                pass
            assert read_run(run_path).manifest.stages == {}, "looking at a running run is allowed"
        finally:
            process.kill()
            process.wait(30)
    with open_run(run_path) as run:
        assert run.manifest.stages == {}, "the lock of a dead process does not hold"


def test_the_lock_is_free_after_a_failure(run_path: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), open_run(run_path, RunSettings()):
        raise RuntimeError("boom")
    with open_run(run_path):
        pass


# Folders that cannot be a run.


def test_without_settings_only_an_existing_run_opens(tmp_path: Path) -> None:
    for opening in (lambda: open_run(tmp_path / "no").__enter__(), lambda: read_run(tmp_path / "no")):
        with pytest.raises(RunFolderError, match=r"is not a run folder \(no manifest\.json\)"):
            opening()
    assert not list(tmp_path.iterdir())


def test_the_settings_of_a_run_come_back(run_path: Path) -> None:
    settings = load_settings("phantom-dpo", ["seed=7"])
    with open_run(run_path, settings):
        pass
    with open_run(run_path) as run:
        assert run.settings == settings
    assert (run_path / RESOLVED).exists()


def test_a_run_of_another_format_is_refused(run_path: Path) -> None:
    with open_run(run_path, RunSettings()):
        pass
    manifest = json.loads((run_path / MANIFEST).read_text())
    (run_path / MANIFEST).write_text(json.dumps({**manifest, "format": FORMAT + 1}))
    with pytest.raises(RunFolderError, match=f"format {FORMAT + 1}, this mmedpo reads {FORMAT}"), open_run(run_path):
        pass


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"format": 1, "stages": 3}', '{"format": 1, "new": 0}', "\xff\xfe"]
)
def test_a_damaged_manifest_is_one_clear_line(run_path: Path, content: str) -> None:
    with open_run(run_path, RunSettings()):
        pass
    (run_path / MANIFEST).write_bytes(content.encode("latin-1"))
    with pytest.raises(RunFolderError, match=r"manifest\.json is damaged") as caught, open_run(run_path):
        pass
    assert "\n" not in str(caught.value)


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    tmp_path.joinpath("thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match=r"not empty and not a run folder \(found 'thesis\.tex'\)"):
        _execute(tmp_path, [])
    assert _names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_where_the_folder_should_be(tmp_path: Path, below: str) -> None:
    tmp_path.joinpath("r").write_text("a file")
    with pytest.raises(RunFolderError, match="is a file, not a folder"):
        _execute(tmp_path / "r" / below, [])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Not even root can make a folder there."""
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    with pytest.raises(RunFolderError, match=r"/proc/.* cannot be used: .*; choose another --runs folder"):
        _execute(Path("/proc/runs/r"), [])


def test_a_folder_without_write_permission(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunFolderError, match="cannot be used: no permission"):
        _execute(run_path, [])


# Donors.


def test_a_finished_stage_is_taken_over_when_settings_and_inputs_agree(tmp_path: Path) -> None:
    _execute(tmp_path / "donor", _chain([]), given="5")
    log: Log = []
    _execute(tmp_path / "r", _chain(log, offset=4), given="5", donors=[tmp_path / "donor"])
    assert log == ["add", "show"], "only the first stage is the same work"
    assert tmp_path.joinpath("r/show.txt").read_text() == "= 14"
    assert tmp_path.joinpath("donor/show.txt").read_text() == "= 11"
    again: Log = []
    _execute(tmp_path / "r", _chain(again, offset=4))
    assert again == [], "what was taken over is done"


def test_a_donor_with_other_inputs_gives_nothing(tmp_path: Path) -> None:
    _execute(tmp_path / "donor", _chain([]), given="6")
    log: Log = []
    _execute(tmp_path / "r", _chain(log), given="5", donors=[tmp_path / "donor"])
    assert log == ["multiply", "add", "show"]


def test_a_donors_edited_output_is_not_taken_over(tmp_path: Path) -> None:
    _execute(tmp_path / "donor", _chain([]), given="5")
    tmp_path.joinpath("donor/product.txt").write_text("1000")
    log: Log = []
    _execute(tmp_path / "r", _chain(log), given="5", donors=[tmp_path / "donor"])
    assert log == ["multiply"], "what reads the true product is the same work again"
    assert tmp_path.joinpath("r/show.txt").read_text() == "= 11"


def test_working_on_after_taking_over_does_not_change_the_donor(tmp_path: Path) -> None:
    def fill(content: str) -> Stage:
        def work(run: Run) -> None:
            run.file("images").mkdir(exist_ok=True)
            run.file("images/a.txt").write_text(content)  # in place, as a library may do

        return Stage("fill", work, {"content": content}, (), ("images",))

    _execute(tmp_path / "donor", [fill("old")])
    _execute(tmp_path / "r", [fill("old")], donors=[tmp_path / "donor"])
    _execute(tmp_path / "r", [fill("new")], donors=[tmp_path / "donor"])
    assert tmp_path.joinpath("r/images/a.txt").read_text() == "new"
    assert tmp_path.joinpath("donor/images/a.txt").read_text() == "old"


def test_donors_that_are_no_runs_are_passed_over(tmp_path: Path) -> None:
    damaged, other, empty = tmp_path / "damaged", tmp_path / "other", tmp_path / "empty"
    write_text(damaged / MANIFEST, "{")
    write_text(other / MANIFEST, json.dumps({"format": FORMAT + 1}))
    empty.mkdir()
    log: Log = []
    donors = [damaged, other, empty, tmp_path / "missing", tmp_path / "r"]
    _execute(tmp_path / "r", _chain(log), given="5", donors=donors)
    assert log == ["multiply", "add", "show"]


def test_a_donor_that_vanishes_while_it_is_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _execute(tmp_path / "donor", _chain([]), given="5")

    def vanish(source: Path, target: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", str(source))

    monkeypatch.setattr("mmedpo.run.share", vanish)
    log: Log = []
    _execute(tmp_path / "r", _chain(log), given="5", donors=[tmp_path / "donor"])
    assert log == ["multiply", "add", "show"]


# Drops.


def test_drops_of_all_finished_stages_are_gathered(run_path: Path) -> None:
    def dropping(name: str, *reasons: str) -> Stage:
        def work(run: Run) -> None:
            run.write_drops([Drop(stage=name, item=f"{n}", reason=reason) for n, reason in enumerate(reasons)])

        return Stage(name, work, {"reasons": reasons})

    _execute(run_path, [dropping("data", "unreadable-image"), dropping("curate", "no-conflict", "too-long")])
    _execute(run_path, [dropping("data", "no-answer")])
    with open_run(run_path) as run:
        found = sorted((drop.stage, drop.reason) for drop in run.drops())
    assert found == [("curate", "no-conflict"), ("curate", "too-long"), ("data", "no-answer")]


def test_drops_of_an_earlier_execution_do_not_stay(run_path: Path) -> None:
    def once(again: bool) -> Stage:
        def work(run: Run) -> None:
            if not again:
                run.write_drops([Drop(stage="data", item="a", reason="old")])

        return Stage("data", work, {"again": again})

    _execute(run_path, [once(False)])
    _execute(run_path, [once(True)])
    with open_run(run_path) as run:
        assert run.drops() == []
