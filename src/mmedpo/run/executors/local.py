"""The `local` executor: this process, one chunk after the other; what waits, many items at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mmedpo.records import Record
from mmedpo.registry import register
from mmedpo.run.chunks import Chunks, Finished
from mmedpo.run.executors.executor import ChunkJob, ItemJob
from mmedpo.run.waiting import run_async

if TYPE_CHECKING:
    from mmedpo.run.folder import Run

T = TypeVar("T")
V = TypeVar("V")
R = TypeVar("R", bound=Record)

AHEAD = 4
"""Items begun per item in flight: a slow item at the front must not keep places empty behind it."""


@register("executor", "local")
class LocalExecutor:
    """Everything in this process."""

    def map(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> list[R]:
        """See `Executor`."""
        chunks = Chunks(run.work_folder, job.label, len(items), job.size, job.record)
        to_do = set(chunks.open())
        advance = run.track(job.label)
        done = len(items) - sum(chunks.length(start) for start in to_do)
        # What an earlier process did is told first, so that it does not count as this one's speed.
        advance(done, len(items))
        worker = job.factory() if to_do else None
        results: list[R] = []
        for start in chunks.starts:
            if start not in to_do or worker is None:
                results += chunks.read(start)
                continue
            records = worker(items[start : start + job.size])
            chunks.save(start, records)
            results += records
            done += chunks.length(start)
            advance(done, len(items))
        return results

    def stream(self, run: Run, job: ItemJob[T, R], items: Sequence[T]) -> Iterable[R]:
        """See `Executor`. No chunk waits for the one before; memory is bounded by what is in flight."""
        chunks = Chunks(run.work_folder, job.label, len(items), job.size, job.record)
        return Finished(chunks, run_async(_stream(run, job, items, chunks)))


async def _stream(run: Run, job: ItemJob[T, R], items: Sequence[T], chunks: Chunks[R]) -> dict[int, list[R]]:
    """Does what is to do and saves complete chunks; gives what was done of the others, by chunk."""
    open_starts = chunks.open()
    done = len(items) - sum(chunks.length(start) for start in open_starts)
    advance = run.track(job.label)
    advance(done, len(items))
    if not open_starts:
        return {}
    to_do = (items[index] for start in open_starts for index in range(start, start + chunks.length(start)))
    unsaved: dict[int, list[R]] = {}
    finished: list[R | None] = []
    position = 0
    async with job.factory() as work:
        async for record in in_order(to_do, work.one, work.in_flight):
            finished.append(record)
            done += 1
            advance(done, len(items))
            start = open_starts[position]
            if len(finished) == chunks.length(start):
                records = [item for item in finished if item is not None]
                if len(records) == len(finished):
                    chunks.save(start, records)
                else:
                    unsaved[start] = records
                finished, position = [], position + 1
    return unsaved


async def in_order(items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, V]], in_flight: int) -> AsyncIterator[V]:
    """Results in the order of the items, while later items are worked on already.

    At most `AHEAD * in_flight` items are begun and not yet given out, whatever their number. The first
    error ends it: everything else in flight is cancelled, and has ended, before the error is raised.
    """
    running: deque[asyncio.Task[V]] = deque()
    try:
        for item in items:
            running.append(asyncio.ensure_future(work(item)))
            if len(running) >= AHEAD * in_flight:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
