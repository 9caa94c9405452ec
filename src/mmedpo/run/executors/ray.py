"""The `ray` executor: chunks are worked on by actors of a Ray cluster; the driver alone notes what is done.

Ray finds room, starts processes, moves objects and says who died. The list of what is to do is the one
that every executor has, the chunk files, so a run may go on under another executor; docs/scale.md says
why it is actors and not Ray Data. No worker needs a key or asks a server: what waits (`stream`) stays with
the driver, the one owner of budget, call cache and egress guard.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mmedpo.config import RunSettings
from mmedpo.environment import DEFAULTS
from mmedpo.errors import ConfigError, MMedPOError, RunFolderError, brief
from mmedpo.records import Record
from mmedpo.registry import register
from mmedpo.run.disk import trouble
from mmedpo.run.executors.executor import ChunkJob, ItemJob
from mmedpo.run.executors.local import LocalExecutor
from mmedpo.run.executors.pooled import map_pooled
from mmedpo.run.handing import Done, Lost
from mmedpo.run.layout import HOLDER
from mmedpo.run.manifest import versions

if TYPE_CHECKING:
    from mmedpo.run.folder import Run

T = TypeVar("T")
R = TypeVar("R", bound=Record)

ADDRESS = "RAY_ADDRESS"
"""Variable of the environment that names a running cluster, e.g. `auto` on one of its nodes."""
PASSED_ON = tuple(DEFAULTS)
"""What a worker gets of the driver's environment; no key is among it."""
PATIENCE = 30.0
"""Seconds without a word from any worker until the user is told what is waited for."""
SETTLES = 10.0
"""Seconds after which a network drive shows what another node has written."""


@register("executor", "ray")
class RayExecutor:
    """Workers on the cluster at RAY_ADDRESS, else on one that is started on this machine."""

    options = frozenset({"workers", "cpus", "gpus"})

    @staticmethod
    def check(settings: RunSettings) -> None:
        """See `Executor`.

        Raises:
            ConfigError: Ray is not installed, or the address is one for Ray Client.
        """
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("executor.name is 'ray', but Ray is not installed here; pip install 'mmedpo[ray]'")
        if os.environ.get(ADDRESS, "").startswith("ray://"):
            raise ConfigError(f"{ADDRESS}=ray://... is for Ray Client; start this on a node of the cluster with auto")

    def map(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> list[R]:
        """See `Executor`."""

        def actors() -> _Actors[T, R]:
            self.check(run.settings)
            _connect()
            return _Actors(run, job, items)

        return map_pooled(run, job, items, actors)

    def stream(self, run: Run, job: ItemJob[T, R], items: Sequence[T]) -> Iterable[R]:
        """See `Executor`. It waits and hardly computes, so the driver does it, alone."""
        return LocalExecutor().stream(run, job, items)


def _connect() -> None:
    """Joins the cluster, once in this process.

    Raises:
        ConfigError: there is none at the address, or it is one of another version.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent anywhere
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker without GPUs sees none
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get(ADDRESS, "")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {ADDRESS}={address[:80]}" if address else "a Ray cluster on this machine"
        why = brief(" ".join(str(error).split()))
        fix = "start it with the Python and Ray of this environment" if "ersion" in why else "see `ray status`"
        raise ConfigError(f"{where} cannot be used ({why}); {fix}") from None


@dataclass(frozen=True)
class Sight:
    """What the driver has and sees, for a node to compare."""

    versions: dict[str, str]
    """Of the packages that shape a result."""
    started_in: Path
    """What relative paths are relative to."""
    holder: Path
    """File of the run folder that says who holds it: another folder of the same name has another."""
    held_by: str
    folders: tuple[Path, ...]
    """Further folders that the work reads."""

    @staticmethod
    def of(run: Run) -> Sight:
        """That of this process."""
        holder = (run.path / HOLDER).absolute()
        folders = tuple(folder.absolute() for folder in (run.image_root,) if folder.is_dir())
        return Sight(versions(), Path.cwd(), holder, holder.read_text(), folders)

    def compare(self) -> None:
        """Looks whether this process has and sees the same.

        Raises:
            RunFolderError: it does not; the message says what to do about it.
        """
        there = versions()
        for package, wanted in self.versions.items():
            if there[package] != wanted:
                raise RunFolderError(
                    f"{package} is {there[package]} there but {wanted} where the run was started; install that"
                )
        deadline = time.monotonic() + SETTLES
        while lacking := self._lacking():
            if time.monotonic() > deadline:
                raise RunFolderError(
                    f"{lacking} cannot be seen from there, or is another folder; put runs and data on storage that "
                    "all nodes have under the same path"
                )
            time.sleep(0.2)

    def _lacking(self) -> Path | None:
        with suppress(OSError):
            if self.holder.read_text() == self.held_by:
                return next((folder for folder in self.folders if not folder.is_dir()), None)
        return self.holder.parent


class Worker(Generic[T, R]):
    """What lives in an actor: one worker of a job."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._work: Callable[[Sequence[T]], Sequence[R]] | None = None

    def begin(self, factory: Sequence[Any]) -> Sequence[R]:
        """Looks around on this node, then makes the worker.

        Args:
            factory: the job's, in the cluster's store: unpacking it imports what it needs, after the look.

        Raises:
            MMedPOError: something is missing here; the message names the node.
        """
        import ray

        with suppress(OSError):
            os.chdir(self._sight.started_in)
        with self._told():
            self._sight.compare()
            try:
                make = ray.get(factory[0])
            except (ray.exceptions.RaySystemError, ImportError) as error:
                why = brief(str(error).strip().splitlines()[-1])
                fix = "install the same packages as where the run was started"
                raise RunFolderError(f"what the work is made with cannot be loaded there ({why}); {fix}") from None
            self._work = make()
        return ()

    def work(self, items: Sequence[T]) -> Sequence[R]:
        """The records of a chunk.

        Raises:
            Exception: what the work raises; one of ours, and what the operating system refused, names the node.
        """
        assert self._work is not None
        with self._told():
            return self._work(items)

    @contextmanager
    def _told(self) -> Iterator[None]:
        node = f"node {socket.gethostname()}"
        try:
            yield
        except MMedPOError as error:
            raise type(error)(f"{node}: {error}") from None
        except Exception as error:
            refused = trouble(error, self._sight.holder.parent)
            if refused is None:
                raise
            raise RunFolderError(f"{node}: {refused}") from None


class _Actors(Generic[T, R]):
    """The actors of one job: a `Pool` whose workers are Ray's handles."""

    def __init__(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> None:
        """Raises:
        ConfigError: no node has room for a worker.
        """
        import ray

        self._ray: Any = ray
        self._run, self._job, self._items = run, job, items
        self._sight = Sight.of(run)
        self._settings = run.settings.executor
        self._gpus = self._settings.gpus
        if self._gpus is None:
            self._gpus = float(run.settings.model.device != "cpu" and any("GPU" in node for node in self._nodes()))
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment["OMP_NUM_THREADS"] = str(self._settings.cpus)
        self._actor = self._ray.remote(Worker).options(
            num_cpus=self._settings.cpus, num_gpus=self._gpus, runtime_env={"env_vars": environment}
        )
        self._factory = ray.put(job.factory)
        self._at_work: dict[Any, Any] = {}
        self._told = False
        if not self.room():
            raise ConfigError(
                f"no node of the cluster has room for a worker (executor.cpus={self._settings.cpus}, "
                f"executor.gpus={self._gpus:g}); lower them, or set executor.workers where the cluster grows on demand"
            )

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def room(self) -> int:
        """See `Pool`."""
        return self._settings.workers or sum(self._fit(node) for node in self._nodes())

    def _fit(self, node: dict[str, float]) -> int:
        """Workers that a node has room for where nothing else runs."""
        by_cpus = int(node.get("CPU", 0) // self._settings.cpus)
        return min(by_cpus, int(node.get("GPU", 0) / self._gpus)) if self._gpus else by_cpus

    def start(self) -> Any:
        """See `Pool`."""
        worker = self._actor.remote(self._sight)
        self._at_work[worker.begin.remote([self._factory])] = worker
        return worker

    def give(self, worker: Any, start: int) -> None:
        """See `Pool`."""
        self._at_work[worker.work.remote(self._items[start : start + self._job.size])] = worker

    def next(self) -> tuple[Any, Done[R] | Lost]:
        """See `Pool`."""
        while not (ready := self._ray.wait(list(self._at_work), timeout=PATIENCE)[0]):
            if not self._told:
                self._run.message(f"{self._job.label}: no word from the cluster yet; `ray status` shows what it lacks")
            self._told = True
        worker = self._at_work.pop(ready[0])
        try:
            return worker, Done(self._ray.get(ready[0]))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            return worker, Lost(brief(" ".join(str(error).split())))

    def stop(self, worker: Any) -> None:
        """See `Pool`."""
        self._at_work = {work: by for work, by in self._at_work.items() if by is not worker}
        self._ray.kill(worker)
