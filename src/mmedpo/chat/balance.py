"""Several servers of one model: each call goes to the one with the fewest in flight; a dead one is left out and told.

The health check is the calls themselves: a server that refuses a connection, or fails several calls in a row, rests;
after its rest one call tries it, and the rest doubles each time it fails again. Where a call was refused nothing
was sent, so it goes to another server at once; what may have been answered is tried again by the line, as ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmedpo.chat.model import ChatModel, ChatReply, ChatRequest, Transient

FAILURES = 3
"""Failed calls in a row after which a server rests; a refused connection is enough."""
FIRST_REST, LONGEST_REST = 5.0, 300.0
"""Seconds a server rests before a call tries it again, at first and at most."""


@dataclass
class Server:
    """One of them."""

    address: str
    model: ChatModel
    in_flight: int = 0
    given: int = 0
    """Number of the last call it was given; of two with as few in flight the one that waited longer is taken."""
    failed: int = 0
    """Calls in a row that failed."""
    rests_until: float = 0.0
    rest: float = 0.0
    """Seconds of its last rest; 0 while it works."""
    left_at: int = 0
    """Number of the last call when it was left out."""


class Balanced:
    """A `ChatModel` of several."""

    def __init__(
        self,
        name: str,
        models: Sequence[tuple[str, ChatModel]],
        message: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        name: the endpoint's name in the recipe, for messages.
        models: addresses with what speaks to them.
        message: one line for the user.
        clock: seconds.
        """
        self.name = name
        self.servers = [Server(address, model) for address, model in models]
        self._message = message
        self._clock = clock
        self._calls = 0

    async def complete(self, request: ChatRequest) -> ChatReply:
        """See `ChatModel`. Refused connections are tried at the other servers first.

        Raises:
            Transient: of the last server; `unreachable` when all of them refuse.
        """
        left = list(self.servers)
        while True:
            server = self._choose(left)
            left.remove(server)
            server.in_flight += 1
            self._calls += 1
            call = server.given = self._calls
            try:
                reply = await server.model.complete(request)
            except Transient as failure:
                self._failed(server, failure)
                if not failure.unreachable or not left:
                    raise
            else:
                self._works(server, call)
                return reply
            finally:
                server.in_flight -= 1

    async def close(self) -> None:
        """Closes all of them."""
        for server in self.servers:
            await server.model.close()

    def _choose(self, servers: Sequence[Server]) -> Server:
        """The one with the fewest calls in flight among those that do not rest; if all do, the first to be up."""
        now = self._clock()
        up = [server for server in servers if not server.rest or (server.rests_until <= now and not server.in_flight)]
        if not up:
            return min(servers, key=lambda server: server.rests_until)
        return min(up, key=lambda server: (server.in_flight, server.given))

    def _failed(self, server: Server, failure: Transient) -> None:
        if failure.wait is not None:
            return  # it lives, and says when it takes more
        server.failed += 1
        resting = server.rest and server.rests_until > self._clock()
        if resting or not (failure.unreachable or server.rest or server.failed >= FAILURES):
            return
        if not server.rest:
            others = sum(not other.rest for other in self.servers) - 1
            self._message(
                f"endpoint {self.name!r}: {server.address} is left out ({failure.reason}); {others} of "
                f"{len(self.servers)} servers go on, and it is tried again from time to time"
            )
        server.left_at = self._calls
        server.rest = min(LONGEST_REST, 2 * server.rest or FIRST_REST)
        server.rests_until = self._clock() + server.rest

    def _works(self, server: Server, call: int) -> None:
        if server.rest and call <= server.left_at:
            return  # it had been sent before the server was left out
        if server.rest:
            self._message(f"endpoint {self.name!r}: {server.address} answers again")
        server.failed, server.rest = 0, 0.0
