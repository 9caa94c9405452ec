"""Handing chunks out to workers that come, die and go: which chunk is to do, who has it, when to give up.

Pure bookkeeping. Where workers are and how they are reached is the pool's affair; who calls decides
what becomes of the records, so a chunk that was worked on twice is noted once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from mmedpo.errors import RunFolderError

MOST_LOSSES = 3
"""Workers that may die over one chunk, or one after the other before any is ready, for each that may be there."""

W = TypeVar("W")
R = TypeVar("R", covariant=True)


@dataclass(frozen=True)
class Done(Generic[R]):
    """A worker finished what it was given: its start (no records), or a chunk."""

    records: Sequence[R] = ()


@dataclass(frozen=True)
class Lost:
    """A worker died, or its node did."""

    why: str
    """Short, with the node's name."""


class Pool(Protocol[W, R]):
    """Workers somewhere else."""

    def room(self) -> int:
        """Workers that there may be at the same time, as of now."""
        ...

    def start(self) -> W:
        """Begins to make a worker; `next` tells when it is ready."""
        ...

    def give(self, worker: W, start: int) -> None:
        """Gives a chunk to a worker that has none."""
        ...

    def next(self) -> tuple[W, Done[R] | Lost]:
        """Waits for any worker. What its work raised is raised here."""
        ...

    def stop(self, worker: W) -> None:
        """Ends a worker, whatever it is doing."""
        ...


def hand_out(chunks: Iterable[int], pool: Pool[W, R], save: Callable[[int, Sequence[R]], None]) -> None:
    """Has every chunk worked on once, as long as no worker dies; what a dead one had goes to another.

    Args:
        chunks: starts of the chunks, in the order in which they are begun.
        pool: the workers; none is left when this ends, in whatever way.
        save: called with every chunk and its records, in the order of finishing.

    Raises:
        RunFolderError: workers die over one chunk, die before they are ready, or there is no room for any.
    """
    waiting, held, losses = deque(chunks), dict[W, int | None](), Counter[int | None]()
    try:
        while waiting or any(start is not None for start in held.values()):
            room = pool.room()
            starting = sum(start is None for start in held.values())
            for _ in range(min(room - len(held), len(waiting) - starting)):
                held[pool.start()] = None
            if not held:
                raise RunFolderError(
                    "no node of the cluster has room for a worker any more; bring nodes back and run again to go on"
                )
            worker, outcome = pool.next()
            start = held.pop(worker)
            if isinstance(outcome, Lost):
                pool.stop(worker)
                losses[start] += 1
                _refuse_more(start, losses[start], room, outcome)
                waiting.extendleft(() if start is None else (start,))
                continue
            if start is not None:
                save(start, outcome.records)
            losses[None] = 0
            if waiting:
                given = held[worker] = waiting.popleft()
                pool.give(worker, given)
            else:
                pool.stop(worker)
    finally:
        for worker in held:
            pool.stop(worker)


def _refuse_more(start: int | None, lost: int, room: int, last: Lost) -> None:
    """Gives up on what kills every worker: handing it out once more would only kill the next."""
    if start is not None and lost >= MOST_LOSSES:
        raise RunFolderError(
            f"{lost} workers died over the items from {start} on (the last: {last.why}); give workers more memory "
            "(fewer at a time: executor.workers), or look at these items. What is done is kept"
        )
    if start is None and lost >= MOST_LOSSES * max(1, room):
        raise RunFolderError(
            f"{lost} workers died before they were ready (the last: {last.why}); give them more memory "
            "(executor.workers, executor.gpus) and run again to go on"
        )
