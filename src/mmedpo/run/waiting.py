"""Waiting for what answers later: a coroutine run to its end, a value that may have to be waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
