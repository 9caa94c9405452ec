"""Opening a run folder: locks, other versions, damage, folders that are something else, and donors."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mmedpo.config import RunSettings, load_settings
from mmedpo.errors import RunFolderError
from mmedpo.run import Run, Stage, open_run, read_run
from mmedpo.run.layout import RESOLVED
from mmedpo.run.manifest import FORMAT, MANIFEST
from mmedpo.storage.tables import write_text
from small_stages import Log, chain, execute, names_in


@pytest.fixture
def run_path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "r"


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
    "content", ["", "{", "[]", "null", '{"format": 3, "stages": 3}', '{"format": 3, "new": 0}', "\xff\xfe"]
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
        execute(tmp_path, [])
    assert names_in(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_where_the_folder_should_be(tmp_path: Path, below: str) -> None:
    tmp_path.joinpath("r").write_text("a file")
    with pytest.raises(RunFolderError, match="is a file, not a folder"):
        execute(tmp_path / "r" / below, [])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Not even root can make a folder there."""
    if not Path("/proc/self").exists():
        pytest.skip("no /proc here")
    with pytest.raises(RunFolderError, match=r"/proc/.* cannot be used: .*; choose another --runs folder"):
        execute(Path("/proc/runs/r"), [])


def test_a_folder_without_write_permission(run_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(RunFolderError, match="cannot be used: no permission"):
        execute(run_path, [])


# Donors.


def test_a_finished_stage_is_taken_over_when_settings_and_inputs_agree(tmp_path: Path) -> None:
    execute(tmp_path / "donor", chain([]), given="5")
    log: Log = []
    execute(tmp_path / "r", chain(log, offset=4), given="5", donors=[tmp_path / "donor"])
    assert log == ["add", "show"], "only the first stage is the same work"
    assert tmp_path.joinpath("r/show.txt").read_text() == "= 14"
    assert tmp_path.joinpath("donor/show.txt").read_text() == "= 11"
    again: Log = []
    execute(tmp_path / "r", chain(again, offset=4))
    assert again == [], "what was taken over is done"


def test_a_donor_with_other_inputs_gives_nothing(tmp_path: Path) -> None:
    execute(tmp_path / "donor", chain([]), given="6")
    log: Log = []
    execute(tmp_path / "r", chain(log), given="5", donors=[tmp_path / "donor"])
    assert log == ["multiply", "add", "show"]


def test_a_donors_edited_output_is_not_taken_over(tmp_path: Path) -> None:
    execute(tmp_path / "donor", chain([]), given="5")
    tmp_path.joinpath("donor/product.txt").write_text("1000")
    log: Log = []
    execute(tmp_path / "r", chain(log), given="5", donors=[tmp_path / "donor"])
    assert log == ["multiply"], "what reads the true product is the same work again"
    assert tmp_path.joinpath("r/show.txt").read_text() == "= 11"


def test_working_on_after_taking_over_does_not_change_the_donor(tmp_path: Path) -> None:
    def fill(content: str) -> Stage:
        def work(run: Run) -> None:
            run.file("images").mkdir(exist_ok=True)
            run.file("images/a.txt").write_text(content)  # in place, as a library may do

        return Stage("fill", work, {"content": content}, (), ("images",))

    execute(tmp_path / "donor", [fill("old")])
    execute(tmp_path / "r", [fill("old")], donors=[tmp_path / "donor"])
    execute(tmp_path / "r", [fill("new")], donors=[tmp_path / "donor"])
    assert tmp_path.joinpath("r/images/a.txt").read_text() == "new"
    assert tmp_path.joinpath("donor/images/a.txt").read_text() == "old"


def test_donors_that_are_no_runs_are_passed_over(tmp_path: Path) -> None:
    damaged, other, empty = tmp_path / "damaged", tmp_path / "other", tmp_path / "empty"
    write_text(damaged / MANIFEST, "{")
    write_text(other / MANIFEST, json.dumps({"format": FORMAT + 1}))
    empty.mkdir()
    log: Log = []
    donors = [damaged, other, empty, tmp_path / "missing", tmp_path / "r"]
    execute(tmp_path / "r", chain(log), given="5", donors=donors)
    assert log == ["multiply", "add", "show"]


def test_a_donor_that_vanishes_while_it_is_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    execute(tmp_path / "donor", chain([]), given="5")

    def vanish(source: Path, target: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "gone", str(source))

    monkeypatch.setattr("mmedpo.run.folder.share", vanish)
    log: Log = []
    execute(tmp_path / "r", chain(log), given="5", donors=[tmp_path / "donor"])
    assert log == ["multiply", "add", "show"]


# What a process that died had begun to write.


def test_half_a_file_of_weights_is_removed_when_the_run_is_opened_again(run_path: Path) -> None:
    """The library writes under a name of its own, which no one would look for again."""
    with open_run(run_path, RunSettings()):
        pass
    (run_path / "reference").mkdir()
    (run_path / "reference" / ".tmpfile").write_text("somebody's")
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        save_file({"logprobs": np.zeros(4096)}, run_path / "reference" / "logprobs.safetensors")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGXFSZ
    assert len(list((run_path / "reference").iterdir())) == 2
    with open_run(run_path):
        assert [file.name for file in (run_path / "reference").iterdir()] == [".tmpfile"]
