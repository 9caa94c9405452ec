"""The executor `ray` on a cluster of two nodes on this machine: what it promises, what it says of bad places."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mmedpo import load_settings, open_run, run_stages
from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError, MMedPOError, RunFolderError
from mmedpo.progress import Silent
from mmedpo.records import Drop
from mmedpo.run import Run, Stage
from mmedpo.run.executors import ray as room

ITEMS, SIZE = 24, 2
ON_RAY = RunSettings(executor={"name": "ray"})


# Without a cluster.


def test_ray_that_is_not_installed_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else real(name, *rest))
    with open_run(tmp_path / "r", load_settings("phantom-dpo", ["executor.name=ray"])) as run:
        with pytest.raises(ConfigError, match=r"Ray is not installed here; pip install 'mmedpo\[ray\]'"):
            run_stages(run)
        assert not (run.path / "examples.parquet").exists()


def test_an_address_for_ray_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="is for Ray Client; start this on a node of the cluster"):
        room.RayExecutor.check(ON_RAY)


def test_an_address_at_which_nobody_answers_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        # It is held by this socket, which does not listen.
        with pytest.raises(
            ConfigError, match=rf"nobody answers at RAY_ADDRESS=127\.0\.0\.1:{port} \(Connection refused"
        ):
            room._knock(f"127.0.0.1:{port}")
        for address in ("no-such-host.invalid:6379", "127.0.0.1:99999", "a..b:1", "[::1:1"):
            with pytest.raises(ConfigError, match="nobody answers at .*start the cluster there, name the one") as told:
                room._knock(address)
            assert "\n" not in str(told.value)
        free.listen()
        room._knock(f"127.0.0.1:{port}")
    for left_to_ray in ("auto", "", "head", "ray://head:1"):
        room._knock(left_to_ray)


@pytest.mark.long
@pytest.mark.parametrize("kind", [Exception, OSError, TimeoutError, ConnectionError])
def test_whatever_ray_makes_of_a_cluster_that_does_not_start_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    ray = pytest.importorskip("ray")

    def init(**_: object) -> None:
        raise kind("The current node timed out during startup.\nLast lines:\n  a traceback")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(ConfigError, match=r"a Ray cluster on this machine cannot be used \(The current node") as told:
        mapped(tmp_path / "r")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["workers=2", "cpus=4", "gpus=1"])
def test_a_setting_of_the_cluster_without_a_cluster_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"executor.{name[:-2]} has no effect because executor.name is 'local'"):
        load_settings("phantom-dpo", [f"executor.{name}"])


# On a cluster.


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of one node of one core; this process runs on it."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        # Ray's workers step back behind everything else on a machine; where tests run beside others they would starve.
        quiet = {"USAGE_STATS_ENABLED": "0", "ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1", "worker_niceness": "0"}
        for name, value in quiet.items():
            patch.setenv(f"RAY_{name}", value)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture
def cluster(nodes: Any) -> Any:
    """The same with a second node, whatever an earlier test did to it."""
    for node in list(nodes.worker_nodes):
        nodes.remove_node(node)
    nodes.second = nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    return nodes


def worker(notes: Path, mishap: str) -> Callable[[Sequence[int]], list[Drop]]:
    """Notes that it was made and what it was given; has a mishap at item 8, the first time it comes by.

    `alone` is no mishap: it waits until another worker is there.
    """
    (notes / f"made-{os.getpid()}").touch()

    def work(items: Sequence[int]) -> list[Drop]:
        while mishap == "alone" and len(list(notes.glob("made-*"))) < 2:
            time.sleep(0.05)
        if 8 in items and mishap and not (notes / "mishap").exists():
            (notes / "mishap").touch()
            happen(mishap)
        time.sleep(0.1)
        with (notes / "given").open("a") as file:
            file.writelines(f"{item}\n" for item in items)
        return [Drop(stage="s", item=str(item), reason="r") for item in items]

    return work


def happen(mishap: str) -> None:
    if mishap == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if mishap == "no space":
        raise OSError(errno.ENOSPC, "No space left on device", "/scratch/x")
    if mishap == "ours":
        raise MMedPOError("item 8 is no item")
    if mishap == "bug":
        raise ZeroDivisionError("of the work")


def mapped(folder: Path, settings: RunSettings = ON_RAY, mishap: str = "", reporter: Any = None) -> list[str]:
    """The items that come back from a stage of one map."""
    notes = folder.parent / "notes"
    notes.mkdir(exist_ok=True)
    found: list[Drop] = []

    def stage_work(run: Run) -> None:
        found.extend(run.map("m", range(ITEMS), SIZE, partial(worker, notes, mishap), Drop))

    with open_run(folder, settings, reporter) as run:
        run.execute(Stage("s", stage_work, {}))
    return [drop.item for drop in found]


class At(Silent):
    """Does something once so many items of a job are done."""

    def __init__(self, label: str, number: int, act: Callable[[], None]) -> None:
        self.label, self.number, self.act = label, number, act

    def track(self, label: str) -> Callable[[int, int], None]:
        def advance(done: int, total: int) -> None:
            if self.label in label and self.number <= done < total:
                self.label = "never again"
                self.act()

        return advance


WHOLE = [str(item) for item in range(ITEMS)]


@pytest.mark.long
def test_every_item_once_in_order_by_workers_that_are_made_once(tmp_path: Path, cluster: Any) -> None:
    assert mapped(tmp_path / "r", mishap="alone") == WHOLE
    given = (tmp_path / "notes/given").read_text().split()
    assert sorted(given, key=int) == WHOLE
    assert len(list((tmp_path / "notes").glob("made-*"))) == 2
    assert mapped(tmp_path / "again") == WHOLE, "a second job of the same process"


@pytest.mark.long
def test_a_worker_that_is_killed_loses_nothing(tmp_path: Path, cluster: Any) -> None:
    assert mapped(tmp_path / "r", mishap="killed") == WHOLE
    assert (tmp_path / "notes/mishap").exists()
    assert sorted((tmp_path / "notes/given").read_text().split(), key=int) == WHOLE


@pytest.mark.long
def test_a_node_that_is_lost_loses_nothing_and_one_that_comes_is_used(tmp_path: Path, cluster: Any) -> None:
    def lose() -> None:
        cluster.remove_node(cluster.second, allow_graceful=False)

    assert mapped(tmp_path / "r", reporter=At("m", 4, lose)) == WHOLE
    assert sorted({*(tmp_path / "notes/given").read_text().split()}, key=int) == WHOLE
    assert mapped(tmp_path / "more", reporter=At("m", 4, lambda: cluster.add_node(num_cpus=2))) == WHOLE


@pytest.mark.long
@pytest.mark.parametrize(
    ("mishap", "kind", "said"),
    [
        ("no space", RunFolderError, r"node \S+: /scratch/x cannot be used: no space left; choose another"),
        ("ours", MMedPOError, r"node \S+: item 8 is no item"),
        ("bug", ZeroDivisionError, "of the work"),
    ],
)
def test_what_fails_on_a_node_is_the_error_that_it_would_be_here(
    tmp_path: Path, cluster: Any, mishap: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        mapped(tmp_path / "r", mishap=mishap)
    before = (tmp_path / "notes/given").read_text().split()
    saved = sorted(int(path.stem.rpartition("-")[2]) for path in (tmp_path / "r/.work/s").glob("m-*"))
    assert 8 not in saved
    # What was done before is not done again, by whatever executor.
    assert mapped(tmp_path / "r", RunSettings()) == WHOLE
    after = (tmp_path / "notes/given").read_text().split()[len(before) :]
    assert sorted(map(int, after)) == [item for item in range(ITEMS) if item - item % SIZE not in saved]


@pytest.mark.long
def test_a_place_that_does_not_fit_is_told_in_one_line_with_its_node(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"has room for a worker \(executor.cpus=3, executor.gpus=0\); lower them"):
        mapped(tmp_path / "wide", RunSettings(executor={"name": "ray", "cpus": 3}))
    with pytest.raises(ConfigError, match=r"has room for a worker \(executor.cpus=1, executor.gpus=2\)"):
        mapped(tmp_path / "gpus", RunSettings(executor={"name": "ray", "gpus": 2}))
    own = room.versions()
    with monkeypatch.context() as patch:
        patch.setattr(room, "versions", lambda: {**own, "torch": "1.0"})
        said = rf"node \S+: torch is {re.escape(own['torch'])} there but 1\.0 where the run was started; install that"
        with pytest.raises(RunFolderError, match=said):
            mapped(tmp_path / "torch")
    # Another folder of the same name: it is held by another process.
    real = room.Sight.of
    with monkeypatch.context() as patch:
        patch.setattr(room.Sight, "of", lambda run: dataclasses.replace(real(run), held_by="process 1 on another"))
        with pytest.raises(RunFolderError, match=rf"node \S+: {tmp_path}/blind cannot be seen from there"):
            mapped(tmp_path / "blind")


@pytest.mark.long
def test_a_package_that_a_node_lacks_is_told_in_one_line(tmp_path: Path, cluster: Any) -> None:
    """As of a plug-in that is installed where the run is started, and nowhere else."""
    (tmp_path / "here_alone.py").write_text("def factory():\n    return None\n")
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(tmp_path)!r})
import here_alone
from mmedpo.config import RunSettings
from mmedpo.records import Drop
from mmedpo.run import Stage, open_run
with open_run(Path({str(tmp_path / "r")!r}), RunSettings(executor={{"name": "ray"}})) as run:
    run.execute(Stage("s", lambda run: run.map("m", [1], 1, here_alone.factory, Drop), {{}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    said = r"RunFolderError: node \S+: what the work is made with cannot be loaded there \(.*here_alone.*\); install"
    assert re.search(said, done.stderr), done.stderr[-2000:]


@pytest.mark.long
def test_a_node_without_this_package_is_told_in_one_line(tmp_path: Path, nodes: Any) -> None:
    """Its workers cannot even read what they are told to do; nobody restarts them until they give up."""
    (tmp_path / "mmedpo").mkdir()
    (tmp_path / "mmedpo/__init__.py").write_text("raise ImportError('not on this node')")
    bare = nodes.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(tmp_path)})
    nodes.wait_for_nodes()
    try:
        said = r"node [\d.]+: mmedpo cannot be loaded there \(.*not on this node.*\); install the same packages"
        with pytest.raises(RunFolderError, match=said) as told:
            mapped(tmp_path / "r")
        assert "\n" not in str(told.value)
    finally:
        nodes.remove_node(bare)


@pytest.mark.long
def test_a_cluster_of_another_version_is_told_in_one_line(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    ray.shutdown()
    monkeypatch.setattr(ray, "__version__", "2.9.9")
    with pytest.raises(
        ConfigError, match=r"the Ray cluster at RAY_ADDRESS=\S+ cannot be used .* start it with"
    ) as told:
        mapped(tmp_path / "r")
    assert "\n" not in str(told.value)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_phantom_run_on_a_cluster_that_loses_a_node_ends_with_the_bytes_of_a_local_one(
    tmp_path: Path, cluster: Any
) -> None:
    small = [
        "data.phantom.train_images=24",
        "data.phantom.validation_images=4",
        "data.phantom.test_images=8",
        "train.epochs=1",
        "train.batch_groups=8",
    ]
    with open_run(tmp_path / "local", load_settings("phantom-mmedpo", small)) as run:
        run_stages(run, until="predict-tuned")
    lost: list[str] = []

    def lose() -> None:
        cluster.remove_node(cluster.second, allow_graceful=False)
        lost.append("second")

    settings = load_settings("phantom-mmedpo", [*small, "executor.name=ray"])
    with open_run(tmp_path / "ray", settings, At("sampling answers", 64, lose)) as run:
        run_stages(run, until="predict-tuned")
    assert lost
    tables = [path.relative_to(tmp_path / "local") for path in sorted(tmp_path.glob("local/**/*.parquet"))]
    assert {"pairs.parquet", "predictions/base.parquet", "predictions/tuned.parquet"} <= {str(name) for name in tables}
    for name in tables:
        assert (tmp_path / "ray" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    heatmaps = sorted(path.name for path in (tmp_path / "local/groundings").iterdir())
    assert heatmaps
    for name in heatmaps:
        assert (tmp_path / "ray/groundings" / name).read_bytes() == (tmp_path / "local/groundings" / name).read_bytes()


@pytest.mark.long
@pytest.mark.parametrize(("first", "second"), [(ON_RAY, RunSettings()), (RunSettings(), ON_RAY)], ids=["ray", "local"])
def test_a_run_whose_driver_is_killed_goes_on_under_another_executor(
    tmp_path: Path, cluster: Any, first: RunSettings, second: RunSettings
) -> None:
    code = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_ray
from ray import cloudpickle
cloudpickle.register_pickle_by_value(test_ray)
test_ray.mapped(Path({str(tmp_path / "r")!r}), test_ray.RunSettings(executor={{"name": {first.executor.name!r}}}))
"""
    with subprocess.Popen([sys.executable, "-c", code]) as driver:
        deadline = time.monotonic() + 120
        while len(list((tmp_path / "r/.work/s").glob("m-*"))) < 3 and time.monotonic() < deadline:
            assert driver.poll() is None
            time.sleep(0.02)
        driver.kill()
    saved = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "r/.work/s").glob("m-*")}
    assert 3 <= len(saved) < ITEMS / SIZE
    assert mapped(tmp_path / "r", second) == WHOLE
    given = [int(item) for item in (tmp_path / "notes/given").read_text().split()]
    again = {item for item in given if given.count(item) > 1}
    done = {int(Path(name).stem.rpartition("-")[2]) for name in saved}
    assert not {item - item % SIZE for item in again} & done, "what was noted is not done again"
