"""The `processes` executor: chunks are worked on by processes of this machine, each with a worker of its own.

A small model keeps one core busy, however many there are; several processes keep all of them busy. They are forked
from a server that has imported torch and all that reads a model once, so a worker is there as soon as its model is.
What is one piece, a training or a single chunk, goes to one process that has all cores: it need not import either.
"""

from __future__ import annotations

import atexit
import copy
import gc
import importlib
import multiprocessing
import os
import re
import select
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError, MMedPOError, RunFolderError
from mmedpo.progress import Reporter
from mmedpo.records import Record
from mmedpo.registry import lookup, register, strangers
from mmedpo.run.chunks import Chunks
from mmedpo.run.executors import telling
from mmedpo.run.executors.executor import ChunkJob, ItemJob
from mmedpo.run.executors.local import LocalExecutor
from mmedpo.run.executors.pooled import map_pooled
from mmedpo.run.executors.telling import Hearing, Said, Telling
from mmedpo.run.handing import Done, Lost

if TYPE_CHECKING:
    from mmedpo.run.folder import Run

T = TypeVar("T")
R = TypeVar("R", bound=Record)

IMPORTED = (
    *("mmedpo.curate.sample", "mmedpo.evaluate.predictions", "mmedpo.train.training"),
    # What is imported only where a checkpoint is read: a worker would take longer over it than over the work.
    *("transformers.image_processing_utils", "transformers.models.auto.image_processing_auto"),
    *("transformers.models.auto.tokenization_auto", "transformers.models.llava.modeling_llava", "peft"),
)
"""What takes workers seconds to import; the server does it once."""
LEAVES = 5.0
"""Seconds in which a worker that has nothing to do ends by itself."""
SCRIPT = "__main__"
"""A script's own module: no worker runs it again, so what it registers is there in this process alone."""
SERVED = "forkserver" in multiprocessing.get_all_start_methods()
"""Whether this system can fork from a server; elsewhere every worker imports for itself."""


@register("executor", "processes")
class ProcessesExecutor:
    """As many processes as this machine has cores for."""

    options = frozenset({"workers", "cpus"})

    @staticmethod
    def check(settings: RunSettings) -> None:
        """See `Executor`.

        Raises:
            ConfigError: models may come to work on a GPU, and every process would put one there.
        """
        if settings.model.device != "cpu":
            raise ConfigError(
                f"executor.name is 'processes', which is for CPUs, and model.device is {settings.model.device!r}; "
                "set model.device=cpu, or executor.name=ray, which hands out GPUs"
            )

    @staticmethod
    def begin(settings: RunSettings) -> None:
        """See `Executor`: the server imports while this process does something else."""
        if SERVED:
            multiprocessing.get_context("forkserver").set_forkserver_preload(list(IMPORTED))
            # Ctrl-C is the run's affair alone, also while the server imports.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                with _threads(settings.executor.cpus):
                    forkserver.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def map(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> list[R]:
        """See `Executor`. One chunk, or room for one worker, is for one that has all cores; here, where no model is."""
        settings = run.settings.executor
        room = settings.workers or max(1, _cores() // settings.cpus)
        chunks = Chunks(run.work_folder, job.label, len(items), job.size, job.record)
        alone, models = min(room, len(chunks.open())) <= 1, run.stage is not None and run.stage.models
        here = SCRIPT in strangers() or (alone and not (SERVED and models))
        if here or not chunks.open():
            return LocalExecutor().map(run, job, items)
        self.begin(run.settings)

        def chunk(start: int) -> Sequence[T]:
            return items[start : start + job.size]

        workers = (1, _all_cores()) if alone else (room, settings.cpus)
        return map_pooled(run, job, items, lambda: _Processes(job.factory, chunk, *workers, run.reporter))

    def stream(self, run: Run, job: ItemJob[T, R], items: Sequence[T]) -> Iterable[R]:
        """See `Executor`. It waits and hardly computes, so this process does it."""
        return LocalExecutor().stream(run, job, items)

    def whole(self, run: Run, work: Callable[[Run], object]) -> None:
        """See `Executor`: in a process that has all cores; it ends with this one.

        Raises:
            RunFolderError: the process was killed.
        """
        if not SERVED or SCRIPT in strangers():
            work(run)
            return
        self.begin(run.settings)
        pool: _Processes[Record] = _Processes(_Whole(run, work), lambda start: (), 1, _all_cores(), run.reporter)
        worker = pool.start()
        try:
            for made in (True, False):
                _, outcome = pool.next()
                if isinstance(outcome, Lost):
                    raise RunFolderError(
                        f"{outcome.why} while it worked on stage {run.current!r}; if memory ran out, ask for less of "
                        "it. Run the same command again to go on"
                    )
                if made:
                    pool.give(worker, 0)
        finally:
            pool.stop(worker)


def _all_cores() -> int:
    """Threads of a process that works alone: as torch would have here."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else _cores()


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Whole:
    """Makes the worker that does a stage's work in one piece."""

    run: Run
    work: Callable[[Run], object]
    working: bool = False

    def listen(self, pipe: Connection) -> None:
        """What the stage says goes to the run's process; where that ends, nobody holds the run folder any more."""
        self.run.reporter, self.run.executor = Telling(pipe), lookup("executor", "local")()
        threading.Thread(target=self._end_with, args=(pipe,), daemon=True).start()

    def _end_with(self, pipe: Connection) -> None:
        gone = select.poll()
        gone.register(pipe.fileno(), select.POLLHUP)
        gone.poll()
        if self.working:
            os._exit(1)

    def __call__(self) -> Callable[[Sequence[Any]], Sequence[Any]]:
        def act(given: Sequence[Any]) -> Sequence[Any]:
            self.working = True
            try:
                # Of an error that the operating system is behind, only that part can be sent.
                with self.run.guarded():
                    self.work(self.run)
            finally:
                # A process of another's ends without what a library wants done at the end, e.g. a tracker.
                atexit._run_exitfuncs()
                self.working = False
            return ()

        return act


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """What is started inside has so many threads: torch reads it once, when it is imported."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = str(count)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _without_script() -> Iterator[None]:
    """What is started inside does not run this process's script again, which multiprocessing would have it do."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


@dataclass(frozen=True)
class _Failed:
    """What a worker's work raised."""

    error: Exception


_Factory = Callable[[], Callable[[Sequence[Any]], Sequence[Any]]]
"""Makes a worker: what becomes of a chunk of items."""
_Filter = tuple[Any, ...]
"""One of `warnings.filters`: action, pattern of the message, category, pattern of the module, line."""


@dataclass(frozen=True)
class _Around:
    """What a worker should find as it is in the run's process."""

    environment: dict[str, str]
    strangers: tuple[str, ...]
    """Modules that registered pieces."""
    warnings: list[_Filter]

    @classmethod
    def here(cls) -> _Around:
        """That of this process."""
        return cls(dict(os.environ), tuple(sorted(strangers())), _heeded())


def _heeded() -> list[_Filter]:
    """What this process makes of warnings, but for kinds that its script defines: no worker can read those."""
    return [one for one in warnings.filters if getattr(one[2], "__module__", "") != "__main__"]


def _pattern(of: re.Pattern[str] | str | None) -> str:
    return of.pattern if isinstance(of, re.Pattern) else of or ""


def _serve(pipe: Connection, factory: _Factory, threads: int, around: _Around) -> None:
    """A worker's life: made, then chunk after chunk, until the run hangs up; it warns of what the run would."""
    gc.freeze()  # what the server imported stays; to look through it again and again would copy its memory as well
    os.environ.clear()  # the server's is that of its own start
    os.environ.update({**around.environment, "OMP_NUM_THREADS": str(threads)})
    for stranger in around.strangers:
        with suppress(ImportError):  # it will be missed where it is needed
            importlib.import_module(stranger)
    if "torch" in sys.modules:  # it read that when the server imported it
        sys.modules["torch"].set_num_threads(threads)
    telling.LINE = pipe
    if isinstance(factory, _Whole):
        factory.listen(pipe)
    for action, message, category, module, line in reversed(around.warnings):
        warnings.filterwarnings(action, _pattern(message), category, _pattern(module), line)
    # Ctrl-C reaches every process of the terminal; the run alone decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    made: list[Callable[[Sequence[Any]], Sequence[Any]]] = []

    def begin() -> Sequence[Any]:
        made.append(factory())
        return ()

    with suppress(EOFError, ConnectionError):
        pipe.send(_outcome(begin))
        while made:
            pipe.send(_outcome(partial(made[0], pipe.recv())))


def _outcome(act: Callable[[], Sequence[Any]]) -> Sequence[Any] | _Failed:
    try:
        return act()
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        try:
            # It will be put together anew in the other process, which not every error allows.
            sent = copy.copy(error)
            ForkingPickler.dumps(sent)
        except Exception:
            sent = RuntimeError(f"{type(error).__name__}: {error}")
        if not isinstance(sent, MMedPOError):
            sent.add_note(told)
        return _Failed(sent)


class _Processes(Generic[R]):
    """The workers of one job: a `Pool` whose workers are the lines to them.

    Args:
        factory: makes a worker.
        chunk: what belongs to the start of a chunk.
        room: workers at most.
        threads: of each.
        reporter: shows what a worker says.
    """

    def __init__(
        self,
        factory: _Factory,
        chunk: Callable[[int], Sequence[Any]],
        room: int,
        threads: int,
        reporter: Reporter,
    ) -> None:
        self._factory, self._chunk, self._room, self._threads = factory, chunk, room, threads
        self._hearing = Hearing(reporter)
        self._processes: dict[Connection, BaseProcess] = {}
        self._at_work: set[Connection] = set()

    def room(self) -> int:
        """See `Pool`."""
        return self._room

    def start(self) -> Connection:
        """See `Pool`."""
        context: Any = multiprocessing.get_context("forkserver" if SERVED else "spawn")
        here: Connection
        here, there = context.Pipe()
        process = context.Process(
            target=_serve, args=(there, self._factory, self._threads, _Around.here()), daemon=True
        )
        with _threads(self._threads), _without_script():
            process.start()
        there.close()  # the worker's end is the worker's alone: where it ends, the line does
        self._processes[here] = process
        self._at_work.add(here)
        return here

    def give(self, worker: Connection, start: int) -> None:
        """See `Pool`."""
        with suppress(ConnectionError):  # it died; `next` tells
            worker.send(self._chunk(start))
        self._at_work.add(worker)

    def next(self) -> tuple[Connection, Done[R] | Lost]:
        """See `Pool`."""
        while True:
            worker = next(line for line in wait(list(self._at_work)) if isinstance(line, Connection))
            try:
                outcome = worker.recv()
            except (EOFError, ConnectionError):
                self._at_work.remove(worker)
                process = self._processes[worker]
                process.join()
                return worker, Lost(f"process {process.pid} ended with code {process.exitcode}")
            if not isinstance(outcome, Said):
                break
            self._hearing.hear(outcome)
        self._at_work.remove(worker)
        if isinstance(outcome, _Failed):
            raise outcome.error
        return worker, Done(outcome)

    def stop(self, worker: Connection) -> None:
        """See `Pool`."""
        process = self._processes.pop(worker)
        worker.close()
        if worker not in self._at_work:
            process.join(LEAVES)  # it sees that the line is closed
        self._at_work.discard(worker)
        process.kill()
        process.join()
