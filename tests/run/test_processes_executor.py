"""The `processes` executor: workers that live in other processes, die, and fail.

What workers are made from is in this file, which they import: it imports nothing that takes long.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from mmedpo.config import RunSettings, load_settings
from mmedpo.errors import ConfigError, MMedPOError, RunFolderError
from mmedpo.records import Drop
from mmedpo.run import Run, Stage, open_run
from mmedpo.run.chunks import Chunks
from mmedpo.run.executors import processes

IN_PROCESSES = RunSettings.model_validate({"model": {"device": "cpu"}, "executor": {"name": "processes", "workers": 2}})


def elsewhere(notes: Path, mishap: str) -> Callable[[Sequence[int]], list[Drop]]:
    """Notes which process it lives in; has a mishap at item 8, the first time it comes by."""

    def work(items: Sequence[int]) -> list[Drop]:
        (notes / f"by-{os.getpid()}").touch()
        while mishap == "both" and len(list(notes.glob("by-*"))) < 2:
            time.sleep(0.01)
        if 8 in items and not (notes / "mishap").exists():
            (notes / "mishap").touch()
            if mishap == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if mishap == "ours":
                raise MMedPOError("item 8 is no item")
            if mishap == "full":
                raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x")
            if mishap == "of its own":
                raise OfItsOwn(8, "no item")
        if mishap == "warned":
            warnings.warn("what a library told", FutureWarning, stacklevel=1)
        return [Drop(stage="s", item=str(item), reason=str(os.environ["OMP_NUM_THREADS"])) for item in items]

    return work


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that load no model need none of what takes seconds to import."""
    monkeypatch.setattr(processes, "IMPORTED", ("mmedpo.run",))


class OfItsOwn(Exception):
    """One that cannot be put together from what it says."""

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"{number} is {what}")


def in_processes(folder: Path, mishap: str, count: int = 12, models: tuple[str, ...] = ()) -> list[Drop]:
    notes, found = folder / "notes", list[Drop]()
    notes.mkdir(exist_ok=True)
    with open_run(folder / "r", IN_PROCESSES) as run:
        work = partial(elsewhere, notes, mishap)
        run.execute(Stage("s", lambda run: found.extend(run.map("m", range(count), 3, work, Drop)), {}, models=models))
    return found


@pytest.mark.usefixtures("light")
def test_processes_do_the_chunks_and_one_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    for mishap in ("both", "killed"):
        folder = tmp_path / mishap
        folder.mkdir()
        found = in_processes(folder, mishap)
        assert [drop.item for drop in found] == [str(item) for item in range(12)]
        assert {drop.reason for drop in found} == {"1"}, "threads of a worker"
        by = {int(path.name.removeprefix("by-")) for path in (folder / "notes").glob("by-*")}
        assert len(by) >= 2
        assert os.getpid() not in by
        for pid in by:
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize(
    ("mishap", "error", "told"),
    [
        ("ours", MMedPOError, "^item 8 is no item$"),
        ("full", RunFolderError, "no space left"),
        ("of its own", RuntimeError, "^OfItsOwn: 8 is no item\n"),
    ],
)
def test_what_a_process_raises_is_the_error_that_it_would_be_here(
    tmp_path: Path, mishap: str, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        in_processes(tmp_path, mishap)
    # What was done is kept, and the rest is done when it is asked for again.
    assert [drop.item for drop in in_processes(tmp_path, mishap)] == [str(item) for item in range(12)]


@pytest.mark.usefixtures("light")
def test_a_process_heeds_the_warnings_that_are_heeded_here(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="what a library", category=FutureWarning)
        with pytest.raises(FutureWarning, match="what a library told"):
            in_processes(tmp_path, "warned")
        warnings.filterwarnings("ignore", category=FutureWarning)
        assert len(in_processes(tmp_path, "warned")) == 12


@pytest.mark.usefixtures("light")
def test_one_chunk_for_a_model_is_done_by_one_process_that_has_all_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # as a user says how many
    found = in_processes(tmp_path, "", count=3, models=("base",))
    assert {drop.reason for drop in found} == {"3"}, "threads of the worker"
    (by,) = (tmp_path / "notes").glob("by-*")
    assert by.name != f"by-{os.getpid()}"


def test_one_chunk_of_what_needs_no_model_is_done_in_this_process(tmp_path: Path) -> None:
    in_processes(tmp_path, "", count=3)
    assert [path.name for path in (tmp_path / "notes").glob("by-*")] == [f"by-{os.getpid()}"]


def whole(notes: Path, mishap: str, run: Run) -> None:
    """Work that is one piece."""
    (notes / f"by-{os.getpid()}").touch()
    run.message(f"by {run.current}")
    advance = run.track("steps")
    advance(3, 5)
    if mishap == "waits":
        time.sleep(60)
    if mishap == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mishap == "ours":
        raise MMedPOError("no such thing")
    if mishap == "refused":
        raise RuntimeError("cannot write") from PermissionError(errno.EACCES, "Permission denied", "/scratch/x")
    if mishap == "unsendable":
        error = ValueError("the real reason")
        error.held = threading.Lock()  # type: ignore[attr-defined]
        raise error
    atexit.register((notes / "at-exit").touch)
    run.message(f"told {os.environ.get('TOLD')}")
    advance(5, 5)
    run.write("made.parquet", Drop, [Drop(stage="s", item="a", reason="b")])


class Heard:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)

    def track(self, label: str) -> Callable[[int, int], None]:
        return lambda done, total: self.lines.append(f"{label} {done}/{total}")


def in_one_process(folder: Path, mishap: str) -> list[str]:
    notes, heard = folder / "notes", Heard()
    notes.mkdir(exist_ok=True)
    with open_run(folder / "r", IN_PROCESSES, heard) as run:
        work = partial(whole, notes, mishap)
        run.execute(Stage("s", lambda run: run.whole(work), {}, writes=("made.parquet",)))
        assert run.read("made.parquet", Drop)
    return heard.lines


@pytest.mark.usefixtures("light")
def test_work_that_is_one_piece_is_done_elsewhere_and_heard_here(tmp_path: Path) -> None:
    told = in_one_process(tmp_path, "")
    assert told[:4] == ["[s] by s", "[s] steps 3/5", "[s] told None", "[s] steps 5/5"]
    assert (tmp_path / "notes" / "at-exit").exists(), "what is to be done at the end"
    (by,) = (tmp_path / "notes").glob("by-*")
    pid = int(by.name.removeprefix("by-"))
    assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def saying(run: Run, notes: Path) -> Callable[[Sequence[int]], list[Drop]]:
    """A worker that has something to say, once there are two."""
    (notes / f"by-{os.getpid()}").touch()
    until(lambda: len(list(notes.glob("by-*"))) == 2)
    run.message("prefix sharing is off")
    run.track("making it")(1, 2)
    return lambda items: [Drop(stage="s", item=str(item), reason="r") for item in items]


@pytest.mark.usefixtures("light")
def test_what_several_workers_say_is_heard_once(tmp_path: Path) -> None:
    heard = Heard()
    with open_run(tmp_path / "r", IN_PROCESSES, heard) as run:
        factory = partial(saying, run, tmp_path)
        run.execute(Stage("s", lambda run: run.map("m", range(12), 3, factory, Drop), {}))
    assert heard.lines.count("[s] prefix sharing is off") == 1
    assert not any("making it" in line for line in heard.lines)


@pytest.mark.usefixtures("light")
def test_what_ends_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(MMedPOError, match="^no such thing$"):
        in_one_process(tmp_path, "ours")
    with pytest.raises(RunFolderError, match="ended with code -9 while it worked on stage 's'; if memory ran out"):
        in_one_process(tmp_path, "killed")
    with pytest.raises(RunFolderError, match="no permission"):
        in_one_process(tmp_path, "refused")
    with pytest.raises(RuntimeError, match="ValueError: the real reason"):
        in_one_process(tmp_path, "unsendable")
    assert in_one_process(tmp_path, "")[-1].startswith("[s] done")


@pytest.mark.usefixtures("light")
def test_it_finds_the_environment_of_the_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLD", "something")
    assert "[s] told something" in in_one_process(tmp_path, "")


@pytest.mark.usefixtures("light")
def test_pieces_of_a_script_are_there_in_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "strangers", lambda: {"__main__"})
    in_one_process(tmp_path, "")
    in_processes(tmp_path, "")
    assert [path.name for path in (tmp_path / "notes").glob("by-*")] == [f"by-{os.getpid()}"]


@pytest.mark.usefixtures("light")
def test_processes_that_were_launched_together_do_it_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    in_one_process(tmp_path, "")
    assert [path.name for path in (tmp_path / "notes").glob("by-*")] == [f"by-{os.getpid()}"]


def test_it_ends_with_the_run_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_processes_executor as here
here.processes.IMPORTED = ("mmedpo.run",)
here.in_one_process(Path({str(tmp_path)!r}), "waits")
""")
    run = subprocess.Popen([sys.executable, str(script)])
    until(lambda: bool(list((tmp_path / "notes").glob("by-*"))))
    run.kill()
    run.wait()
    (by,) = (tmp_path / "notes").glob("by-*")
    until(lambda: not Path("/proc", by.name.removeprefix("by-")).exists())


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.long
def test_the_server_imports_what_reading_a_model_takes(tmp_path: Path) -> None:
    """What is left to each worker are modules of its own model, not the libraries under all of them."""
    script = f"""
import importlib, sys
from pathlib import Path
from mmedpo.run.executors.processes import IMPORTED
for name in IMPORTED:
    importlib.import_module(name)
before = set(sys.modules)
from mmedpo.config import LoraSettings, ModelSettings, TrainSettings
from mmedpo.models.hub import load_model, load_tuned, make_trainable
settings = ModelSettings(name="tiny", device="cpu")
vlm = load_model(settings)
make_trainable(vlm, TrainSettings(lora=LoraSettings(rank=2, alpha=4)), 0)
vlm.model.save_pretrained({str(tmp_path)!r})
load_tuned(settings, Path({str(tmp_path)!r}))
print(len(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60, "modules that every worker imports for itself"


def test_a_script_without_a_guard_is_run_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_processes_executor as here
here.processes.IMPORTED = ("mmedpo.run",)
print(len(here.in_processes(Path({str(tmp_path)!r}), "both")))
""")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("12\n", "")


def test_the_server_begins_where_a_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmedpo.pipeline.plan import run_stages

    begun = list[str]()
    monkeypatch.setattr(processes.ProcessesExecutor, "begin", staticmethod(lambda settings: begun.append("begun")))
    phantom = ["data.phantom.train_images=4", "data.phantom.validation_images=2", "data.phantom.test_images=2"]
    settings = load_settings("phantom-dpo", ["executor.name=processes", "model.device=cpu", *phantom])
    for _ in range(2):
        with open_run(tmp_path / "r", settings) as run:
            run_stages(run, until="data")
        assert begun == ["begun"], "nothing is begun for what is done"


def test_processes_that_would_share_a_gpu_are_refused_at_the_start(tmp_path: Path) -> None:
    from mmedpo.pipeline.plan import run_stages

    settings = load_settings("phantom-dpo", ["executor.name=processes"])
    with open_run(tmp_path / "r", settings) as run, pytest.raises(ConfigError, match="model.device is 'auto'; set"):
        run_stages(run)


def test_all_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    assert processes._all_cores() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert processes._all_cores() == 2


def test_chunks_of_another_size_are_not_taken_up(tmp_path: Path) -> None:
    def cut(size: int) -> Chunks[Drop]:
        return Chunks(tmp_path, "m", 8, size, Drop)

    cut(4).save(0, [Drop(stage="s", item=str(item), reason="r") for item in range(4)])
    assert cut(4).open() == [4]
    assert cut(2).open() == [0, 2, 4, 6]
