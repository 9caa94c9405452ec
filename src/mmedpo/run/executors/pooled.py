"""What executors have in common whose workers are elsewhere: chunks handed out, noted as they are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from mmedpo.records import Record
from mmedpo.run.chunks import Chunks
from mmedpo.run.executors.executor import ChunkJob
from mmedpo.run.handing import Pool, hand_out

if TYPE_CHECKING:
    from mmedpo.run.folder import Run

T = TypeVar("T")
W = TypeVar("W")
R = TypeVar("R", bound=Record)


def map_pooled(run: Run, job: ChunkJob[T, R], items: Sequence[T], pool: Callable[[], Pool[W, R]]) -> list[R]:
    """The records of all items, in order. Chunks finish in any order; each is on disk before it counts.

    Args:
        run: whose stage it is.
        job: what becomes of a chunk.
        items: of all chunks.
        pool: called where something is left to do, for the workers that do it.
    """
    chunks = Chunks(run.work_folder, job.label, len(items), job.size, job.record)
    to_do = chunks.open()
    advance = run.track(job.label)
    done = len(items) - sum(chunks.length(start) for start in to_do)
    # What an earlier process did is told first, so that it does not count as this one's speed.
    advance(done, len(items))
    saved: dict[int, Sequence[R]] = {}

    def save(start: int, records: Sequence[R]) -> None:
        nonlocal done
        chunks.save(start, records)
        saved[start] = records
        done += chunks.length(start)
        advance(done, len(items))

    if to_do:
        hand_out(to_do, pool(), save)
    every = (saved[start] if start in saved else chunks.read(start) for start in chunks.starts)
    return [record for chunk in every for record in chunk]
