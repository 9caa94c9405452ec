"""One job's share of a stage: chunks that other processes, on other machines, need not do.

A stage is done by one process, which holds the run's lock. What it begins with, the work on many items, is cut into
chunks that are files once they are done; so others may do some of them before, each a share of its own, without the
lock. Whatever they leave, the process that does the stage does itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from mmedpo.errors import ConfigError, Paused
from mmedpo.progress import Reporter
from mmedpo.records import Record
from mmedpo.run.chunks import Chunks
from mmedpo.run.executors import ChunkJob, Executor, ItemJob
from mmedpo.run.folder import Run
from mmedpo.run.opening import locked, read_run
from mmedpo.run.stage import Stage

T = TypeVar("T")
R = TypeVar("R", bound=Record)

PATIENCE = 300.0
"""Seconds a job waits for its siblings to look at the run folder."""


class Share:
    """An executor that does some chunks of the first work on many items, and then ends the process."""

    def __init__(self, number: int, of: int) -> None:
        if not 0 <= number < of:
            raise ConfigError(f"share {number} of {of}: shares are counted from 0 to {of - 1}")
        self.number, self.of = number, of

    def map(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> list[R]:
        """Every `of`-th chunk, from the `number`-th on.

        Raises:
            Paused: they are done.
        """
        chunks = Chunks(run.work_folder, job.label, len(items), job.size, job.record)
        mine = chunks.starts[self.number :: self.of]
        to_do = [start for start in chunks.open() if start in mine]
        advance = run.track(job.label)
        advance(len(mine) - len(to_do), len(mine))
        worker = job.factory() if to_do else None
        for done, start in enumerate(to_do, start=len(mine) - len(to_do) + 1):
            assert worker is not None
            chunks.save(start, worker(items[start : start + job.size]))
            advance(done, len(mine))
        chunks_done = f"{len(mine)} of {len(chunks.starts)} chunks of {job.label}"
        raise Paused(f"share {self.number} of {self.of} is done: {chunks_done}")

    def stream(self, run: Run, job: ItemJob[T, R], items: Sequence[T]) -> Iterable[R]:
        """Nothing: one process asks servers, and owns the budget.

        Raises:
            Paused: always.
        """
        raise Paused(f"{job.label} waits for servers and is not divided; the job of {run.current} does it")


def take_share(path: Path, stage: Stage, share: Share, reporter: Reporter) -> None:
    """Does a share of the work that a stage begins with.

    Raises:
        Paused: it is done; or there is none to do.
    """
    with locked(path, PATIENCE):
        run = read_run(path)
        run.reporter, run.executor = reporter, cast(Executor, share)
        if run.is_done(stage):
            raise Paused(f"{stage.name} is done already")
        if stage.name in run.manifest.stages:
            raise Paused(f"{stage.name} is done anew, and so by one job alone, which sets aside what is there")
        run.prepare(stage, run.fingerprint(stage))
    with run.guarded():
        stage.work(run)
