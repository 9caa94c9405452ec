"""One language model as the stages see it: cached, paced, tried again, within budget."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

from mmedpo.chat.budget import Budget
from mmedpo.chat.cache import AnsweredCall, CallCache
from mmedpo.chat.model import (
    CallFailed,
    ChatModel,
    ChatReply,
    ChatRequest,
    Deferred,
    Transient,
    estimated_input_tokens,
    model_identity,
    most_input_tokens,
    request_key,
)
from mmedpo.chat.pacing import Pace
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError, listed

FAILURES_IN_A_ROW = 10
"""Calls that fail after all their attempts, with no answer between, until the endpoint is given up."""
REFUSED_IN_A_ROW = 4
"""Connections refused until a server that has never answered is given up."""


class Line:
    """A model with everything that stands between it and a stage."""

    def __init__(
        self,
        name: str,
        settings: EndpointSettings,
        model: ChatModel,
        cache: CallCache,
        budget: Budget,
        message: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.model = model
        self.cache = cache
        self.budget = budget
        self.identity = model_identity(settings)
        self.sent: Counter[str] = Counter()
        """Of this process: `answered`, `cached`, and failed attempts by reason."""
        self.sends = True
        """False: a call that is not in the cache is `Deferred`; so an estimate finds out what is still to be asked."""
        self._message = message
        self._pace = Pace(settings)
        self._running: dict[str, asyncio.Future[ChatReply]] = {}
        self._failed_in_a_row = 0
        self._refused = 0
        self._ever_answered = False
        self._told = False

    def key(self, request: ChatRequest) -> str:
        """Name of the call in the cache."""
        return request_key(self.identity, request)

    def is_cached(self, request: ChatRequest) -> bool:
        """Whether the answer is stored."""
        return self.cache.get(self.key(request)) is not None

    @property
    def under_way(self) -> int:
        """Calls that wait for their answer, each counted once."""
        return len(self._running)

    async def ask(self, request: ChatRequest) -> ChatReply:
        """The answer to a request: from the cache, from the same call already in flight, or from the model.

        Raises:
            CallFailed: no answer after all attempts, or a request the server does not take.
            Deferred: not sent: written to a batch file, or only the cache may answer.
            ChatError: the endpoint as a whole cannot be used.
            BudgetError: a limit is reached.
        """
        key = self.key(request)
        stored = self.cache.get(key)
        if not self.sends:
            if stored is None:
                raise Deferred("not in the cache")
            return stored
        if stored is not None:
            self.sent["cached"] += 1
            return stored
        running = self._running.get(key)
        if running is not None:
            return await asyncio.shield(running)
        future: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
        self._running[key] = future
        try:
            reply = await self._call(key, request)
        except BaseException as error:
            # Those who wait for the same call meet the same end; if nobody waits, nobody has to be told.
            future.set_exception(error if isinstance(error, Exception) else CallFailed("cancelled"))
            future.exception()
            raise
        else:
            future.set_result(reply)
            return reply
        finally:
            del self._running[key]

    async def _call(self, key: str, request: ChatRequest) -> ChatReply:
        expected = estimated_input_tokens(self.settings, request)
        longest = self.settings.max_tokens
        at_most = self.settings.usd(most_input_tokens(self.settings, request), longest)
        await self.budget.reserve(at_most)
        usd: float | None = None
        started = time.monotonic()
        try:

            async def store(reply: ChatReply, attempts: int) -> None:
                nonlocal usd
                usd = self.settings.usd(reply.usage.input_tokens, reply.usage.output_tokens)
                seconds = time.monotonic() - started
                await self.cache.put(AnsweredCall(key, self.name, request, reply, usd, attempts, seconds))

            reply = await self._attempts(request, expected + longest, store)
        finally:
            self.budget.settle(at_most, usd)
        self.sent["answered"] += 1
        return reply

    async def _attempts(
        self, request: ChatRequest, tokens: int, store: Callable[[ChatReply, int], Awaitable[None]]
    ) -> ChatReply:
        """The answer, stored before its place is free: a kill loses no more than what is in flight."""
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._pace.slot(tokens):
                    reply = await self.model.complete(request)
                    await store(reply, attempt)
            except Transient as failure:
                self._note(failure.reason)
                self._unreachable(failure)
                if attempt >= self.settings.attempts:
                    self._given_up(failure)
                    raise CallFailed(f"{failure.reason}, {attempt} times") from None
                await self._pace.back_off(attempt, failure.wait)
            except Deferred:
                raise
            except CallFailed as failure:
                self._note(failure.reason)
                self._given_up(failure)
                raise
            else:
                self._failed_in_a_row = 0
                self._ever_answered = True
                return reply

    def _note(self, reason: str) -> None:
        self.sent[reason] += 1
        self.cache.failed(self.name, reason)
        if not self._told:
            self._told = True
            self._message(f"endpoint {self.name!r}: {reason}; failed calls are tried again, and counted")

    def _unreachable(self, failure: Transient) -> None:
        """Gives a server up that has never answered: most likely it does not run."""
        if not failure.unreachable or self._ever_answered:
            return
        self._refused += 1
        if self._refused >= REFUSED_IN_A_ROW:
            where = listed([one.base_url for one in self.settings.alone], between=" or ")
            raise ChatError(
                f"endpoint {self.name!r} cannot be reached at {where}: is the server started? "
                "What is done is kept; run again to go on"
            )

    def _given_up(self, failure: CallFailed) -> None:
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            raise ChatError(
                f"endpoint {self.name!r}: {self._failed_in_a_row} calls in a row failed (the last: {failure.reason}); "
                "check the server. What is answered is kept; run again to go on"
            ) from None
