"""What an executor is given and what it promises.

A job says what becomes of an item and how the worker is made; the worker (a loaded model, a visual
tool, an open line to a server) is made where the work runs, by a factory that can be pickled, so
that another process or machine could. Whatever the executor: the same records in the order of the
items, finished chunks never done again, and no worker made where nothing is left to do.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from mmedpo.config import RunSettings
from mmedpo.records import Record
from mmedpo.registry import optional

if TYPE_CHECKING:
    from mmedpo.run.folder import Run

T = TypeVar("T")
R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class ChunkJob(Generic[T, R]):
    """Work that takes a chunk of items at once, e.g. a model answering a batch of questions."""

    label: str
    """What is done, as it is shown and as its files are named; unique in the stage."""
    factory: Callable[[], Callable[[Sequence[T]], Sequence[R]]]
    """Makes the worker where the work runs."""
    record: type[R]
    """What becomes of an item."""
    size: int
    """Items in a chunk; part of the result's identity where items of a chunk share arithmetic."""


@dataclass(frozen=True)
class ItemWork(Generic[T, R]):
    """Work on one item at a time that mostly waits, e.g. for a server."""

    one: Callable[[T], Coroutine[Any, Any, R | None]]
    """Gives None for an item that stays open: its chunk is not saved."""
    in_flight: int
    """Items worth working on at the same time."""


@dataclass(frozen=True)
class ItemJob(Generic[T, R]):
    """Work that waits, item by item, many at once."""

    label: str
    """What is done, as it is shown and as its files are named; unique in the stage."""
    factory: Callable[[], AbstractAsyncContextManager[ItemWork[T, R]]]
    """Opens the work where it runs, and closes it."""
    record: type[R]
    """What becomes of an item."""
    size: int
    """Items saved together."""


class Executor(Protocol):
    """Registered with `@register("executor", NAME)`: a class without constructor arguments.

    A class attribute `options`, a set of names, says which settings of the group `executor` it reads besides `name`.
    """

    def map(self, run: Run, job: ChunkJob[T, R], items: Sequence[T]) -> list[R]:
        """The records of all items, chunk by chunk."""
        ...

    def stream(self, run: Run, job: ItemJob[T, R], items: Sequence[T]) -> Iterable[R]:
        """The records of all items that were not left open; gone through while the stage works, any number of times."""
        ...

    @optional
    def whole(self, run: Run, work: Callable[[Run], object]) -> None:
        """Does the work of a stage that is one piece, e.g. a training, in another process; without it, it is done here.

        Args:
            run: with the stage that is executed.
            work: can be pickled; reads and writes through the run that it is given, and tells what is to be told.
        """

    @staticmethod
    @optional
    def check(settings: RunSettings) -> None:
        """Raises at the start of a run a `ConfigError` that it would meet when its first job comes."""

    @staticmethod
    @optional
    def begin(settings: RunSettings) -> None:
        """Begins what takes a while, and returns; called where a run begins, and so has much to do."""
