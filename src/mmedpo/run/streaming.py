"""Many items in flight at once, results in order, chunk by chunk on disk, memory bounded by what is in flight."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from mmedpo.records import Record
from mmedpo.run.folder import Run
from mmedpo.storage.tables import read_table, write_table

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", bound=Record)

AHEAD = 4
"""Items begun per item in flight: a slow item at the front must not keep places empty behind it."""


async def in_order(items: Iterable[T], work: Callable[[T], Coroutine[Any, Any, R]], in_flight: int) -> AsyncIterator[R]:
    """Results in the order of the items, while later items are worked on already.

    At most `AHEAD * in_flight` items are begun and not yet given out, whatever their number. The first
    error ends it: everything else in flight is cancelled, and has ended, before the error is raised.
    """
    running: deque[asyncio.Task[R]] = deque()
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


async def stream_chunks(
    run: Run,
    label: str,
    items: Sequence[T],
    size: int,
    work: Callable[[T], Coroutine[Any, Any, P | None]],
    record_type: type[P],
    in_flight: int,
) -> list[P]:
    """As `Run.chunks`, for work that waits: fixed chunks, each saved when its last item is done.

    No chunk waits for the one before; a resumed run reads what is saved and does the rest. Where the work
    gives None the item is left open: its chunk is not saved, and it is missing in what is returned.
    """
    advance = run.track(label)
    slug = label.replace(" ", "-")
    starts = range(0, len(items), size)
    parts = {start: run.work_folder / f"{slug}-{start:08d}.parquet" for start in starts}
    open_starts = [start for start in starts if not parts[start].exists()]
    to_do = [index for start in open_starts for index in range(start, min(start + size, len(items)))]
    done = len(items) - len(to_do)
    advance(done, len(items))
    saved: dict[int, list[P]] = {}
    finished: list[P | None] = []
    position = 0
    async for record in in_order((items[index] for index in to_do), work, in_flight):
        finished.append(record)
        done += 1
        advance(done, len(items))
        start = open_starts[position]
        if len(finished) == min(size, len(items) - start):
            saved[start] = [item for item in finished if item is not None]
            if len(saved[start]) == len(finished):
                write_table(parts[start], record_type, saved[start])
            finished, position = [], position + 1
    every = (saved[start] if start in saved else read_table(parts[start], record_type) for start in starts)
    return [record for chunk in every for record in chunk]


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end, also where an event loop is running already (a notebook): then in a thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[T] = []
    failure: list[BaseException] = []

    def target() -> None:
        try:
            outcome.append(asyncio.run(work))
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=target, name="mmedpo")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


async def settled(value: T | Awaitable[T]) -> T:
    """The value, waited for where it is one to wait for: rules answer at once, models later."""
    return await value if isinstance(value, Awaitable) else value
