"""Calls that came one by one, worked on together: a thread that takes up whatever waits.

A model in the process computes sixteen replies in little more time than one. Who calls does not know of the
others; the thread begins when nothing more comes for a moment, or as many wait as it takes.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOMENT = 0.05
"""Seconds without a further call after which those that wait are begun."""


class Gathering(Generic[T, R]):
    """A thread that answers many callers at once."""

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R | Exception]], most: int, name: str) -> None:
        """Args:
        work: gives for every item its result, or the error that its caller alone shall meet; what it raises, all of
            them meet. Runs in the thread.
        most: items worked on together.
        name: of the thread.
        """
        self._work = work
        self._most = most
        self._waiting: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    async def ask(self, item: T) -> R:
        """The result for one item, once it was worked on with others."""
        if not self._started:
            self._started = True
            self._thread.start()
        future: Future[R] = Future()
        self._waiting.put((item, future))
        return await asyncio.wrap_future(future)

    async def close(self) -> None:
        """Waits for the work under way; what still waits is never begun."""
        if self._started:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            taken, ended = self._gather(first)
            # Whoever no longer waits for a result is left out.
            begun = [(item, future) for item, future in taken if future.set_running_or_notify_cancel()]
            if begun:
                self._settle(begun)
            if ended:
                return

    def _gather(self, first: tuple[T, Future[R]]) -> tuple[list[tuple[T, Future[R]]], bool]:
        taken, ended = [first], False
        while len(taken) < self._most:
            try:
                another = self._waiting.get(timeout=MOMENT)
            except queue.Empty:
                break
            if another is None:
                ended = True
                break
            taken.append(another)
        return taken, ended

    def _settle(self, begun: Sequence[tuple[T, Future[R]]]) -> None:
        try:
            results = self._work([item for item, _ in begun])
        except BaseException as error:
            failure = error if isinstance(error, Exception) else RuntimeError(f"stopped by {type(error).__name__}")
            results = [failure] * len(begun)
        for (_, future), result in zip(begun, results, strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
