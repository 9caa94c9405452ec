"""When the next request may leave: requests in flight, requests and tokens a minute, pauses a server asks for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mmedpo.config import EndpointSettings

FIRST_WAIT = 0.5
"""Seconds; doubled with every further try."""


class Pace:
    """The limits of one endpoint, shared by everything that calls it."""

    def __init__(self, settings: EndpointSettings) -> None:
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._longest = settings.longest_wait
        self._per_request = 60.0 / settings.requests_per_minute if settings.requests_per_minute else 0.0
        self._per_token = 60.0 / settings.tokens_per_minute if settings.tokens_per_minute else 0.0
        self._next = 0.0
        """Loop time at which the next request may leave."""

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """Holds one of the places in flight, entered when the rates allow it.

        Args:
            tokens: estimated tokens of the call, input and longest output.
        """
        async with self._slots:
            await self._wait_turn(tokens)
            yield

    async def _wait_turn(self, tokens: int) -> None:
        clock = asyncio.get_running_loop().time
        while (wait := self._next - clock()) > 0:
            await asyncio.sleep(wait)
        # No await between looking and taking: nobody else takes the same turn.
        self._next = max(self._next, clock()) + max(self._per_request, self._per_token * tokens)

    async def back_off(self, attempt: int, asked: float | None) -> None:
        """Waits before another try.

        Args:
            attempt: 1 after the first failure.
            asked: seconds the server asks for; then the whole endpoint pauses, for the others would be refused too.
        """
        if asked is not None:
            clock = asyncio.get_running_loop().time
            pause = min(asked, self._longest)
            self._next = max(self._next, clock() + pause)
            # A little apart, so that those who wait do not all come back at once.
            await asyncio.sleep(pause + random.uniform(0, min(0.1, pause)))
            return
        longest = min(self._longest, FIRST_WAIT * 2 ** (attempt - 1))
        await asyncio.sleep(random.uniform(longest / 2, longest))
