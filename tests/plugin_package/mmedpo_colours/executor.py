"""An executor: the local one, which counts what it is asked to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar

from mmedpo.records import Record
from mmedpo.registry import register
from mmedpo.run.executors import ChunkJob, ItemJob
from mmedpo.run.executors.local import LocalExecutor

if TYPE_CHECKING:
    from mmedpo.run import Run

T = TypeVar("T")
R = TypeVar("R", bound=Record)


@register("executor", "counting")
class Counting:
    """Notes the label of every job."""

    jobs: ClassVar[list[str]] = []

    def map(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> list[R]:
        """See `Executor`."""
        self.jobs.append(job.label)
        return LocalExecutor().map(run, job, items)

    def stream(self, run: Run, job: ItemJob[T, R], items: Sequence[T]) -> Iterable[R]:
        """See `Executor`."""
        self.jobs.append(job.label)
        return LocalExecutor().stream(run, job, items)
