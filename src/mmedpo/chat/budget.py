"""Calls and money: what a run may still spend. A call is not sent unless the most it can cost is there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from mmedpo.config import ChatSettings
from mmedpo.errors import BudgetError


@dataclass(frozen=True)
class Spent:
    """What calls have cost so far."""

    calls: int = 0
    usd: float = 0.0


class Budget:
    """Reserves the most a call can cost before it is sent, and settles what it did cost."""

    def __init__(self, settings: ChatSettings, spent: Spent) -> None:
        """Args:
        settings: the limits; None means none.
        spent: what this run has spent before, in earlier processes too.
        """
        self._settings = settings
        self.calls = spent.calls
        self.usd = spent.usd
        self._reserved_calls = 0
        self._reserved_usd = 0.0
        self._settled = asyncio.Event()
        """Set when a reservation is taken back, and then replaced by the event of the next."""

    async def reserve(self, usd: float) -> None:
        """Sets the most one call can cost aside; waits while calls in flight may turn out cheaper.

        Raises:
            BudgetError: the call could go over a limit, and nothing in flight can change that.
        """
        while why := self._lacks(usd):
            if not self._reserved_calls:
                raise BudgetError(why)
            await self._settled.wait()
        # No await between looking and taking: nobody else takes the same money.
        self._reserved_calls += 1
        self._reserved_usd += usd

    def settle(self, reserved: float, usd: float | None) -> None:
        """Takes the reservation back; `usd` is what the call cost, None when it was not answered.

        It waits for nothing, so that a call that is cancelled twice leaves no debt either.
        """
        self._reserved_calls -= 1
        self._reserved_usd = self._reserved_usd - reserved if self._reserved_calls else 0.0
        if usd is not None:
            self.calls += 1
            self.usd += usd
        self._settled.set()
        self._settled = asyncio.Event()

    def check(self, calls: int, usd: float) -> None:
        """Refuses work that cannot be finished within the limits, before anything is sent.

        Args:
            calls: least number of calls the work needs.
            usd: least money it needs, US dollars.

        Raises:
            BudgetError: it is more than what is left.
        """
        limit = self._settings
        if limit.max_calls is not None and self.calls + calls > limit.max_calls:
            raise BudgetError(
                f"at least {calls} calls are needed and {limit.max_calls - self.calls} of chat.max_calls="
                f"{limit.max_calls} are left, so nothing was sent; raise the limit or take fewer questions"
            )
        if limit.max_usd is not None and self.usd + usd > limit.max_usd:
            raise BudgetError(
                f"at least ${usd:.2f} is needed and ${limit.max_usd - self.usd:.2f} of chat.max_usd={limit.max_usd:g} "
                "is left, so nothing was sent; raise the limit or take fewer questions"
            )

    def _lacks(self, usd: float) -> str:
        limit = self._settings
        done = "what is answered is kept: raise the limit and run again to go on"
        if limit.max_calls is not None and self.calls + self._reserved_calls + 1 > limit.max_calls:
            return f"chat.max_calls={limit.max_calls} is reached ({self.calls} calls made); {done}"
        if limit.max_usd is not None and self.usd + self._reserved_usd + usd > limit.max_usd:
            return (
                f"chat.max_usd={limit.max_usd:g} is reached: ${self.usd:.4f} is spent and the next call can cost "
                f"${usd:.4f}; {done}"
            )
        return ""
