"""A scriptable server that speaks the chat completions of OpenAI over HTTP/1.1, on loopback only.

In a test: `with ChatServer(always(answer("yes"))) as server: ...server.url...`, with the scripts of `chat.scripts`.
As a process of its own, which prints its URL as the first line: `python tests/chat/chat_server.py --latency 0.05`;
`GET /stats` then gives its counts.

It is a bare `asyncio.Protocol` with replies encoded beforehand, so that measuring a client does not measure the server.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import signal
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # Run by its path, the folder of `chat` is not yet one to import from.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chat.scripts import MODEL, Action, Script, always, answer, canonical, delayed, failing, status


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any
    """Parsed JSON; None without a body."""

    @property
    def is_chat(self) -> bool:
        """Whether a chat completion is asked for."""
        return self.method == "POST" and self.path == "/v1/chat/completions"


class _Connection(asyncio.Protocol):
    """One connection: requests one after the other, each answered by what the script says."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._input = bytearray()
        self._head: tuple[str, str, dict[str, str]] | None = None
        self._busy: tuple[Action, Received] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        # Told at once when the socket takes no more, so that "fully sent" can be known.
        self.transport.set_write_buffer_limits(high=0)
        self._server._opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._busy is not None:
            self._server._ended(self._busy[1], paid=False)
            self._busy = None
        self._server._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._input += data
        self._next()

    def resume_writing(self) -> None:
        """A reply larger than the socket's buffer is out now."""
        if self._busy is not None:
            self._sent()

    def _next(self) -> None:
        """Handles the next request if it is there as a whole and nothing is being answered."""
        if self._busy is not None or self.transport.is_closing():
            return
        if self._head is None:
            end = self._input.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = self._input[:end].decode("latin-1").split("\r\n")
            del self._input[: end + 4]
            method, path, _ = lines[0].split(" ", 2)
            fields = (line.partition(":") for line in lines[1:])
            self._head = method, path, {name.strip().lower(): value.strip() for name, _, value in fields}
        method, path, headers = self._head
        length = int(headers.get("content-length", 0))
        if len(self._input) < length:
            return
        content = bytes(self._input[:length])
        del self._input[:length]
        self._head = None
        self._answer(method, path, headers, content)

    def _answer(self, method: str, path: str, headers: dict[str, str], content: bytes) -> None:
        try:
            body = json.loads(content) if content else None
        except ValueError:
            body = content.decode("latin-1")
        request = Received(method, path, headers, body)
        action = self._server._arrived(request)
        self._busy = action, request
        if action.reply is None:
            return
        if action.latency > 0:
            self._timer = asyncio.get_running_loop().call_later(action.latency, self._send, action.reply)
        else:
            self._send(action.reply)

    def _send(self, reply: bytes) -> None:
        self._timer = None
        # Locked, so that a client that has read its answer cannot find it not yet counted.
        with self._server._lock:
            self.transport.write(reply)
            if not self.transport.is_closing() and not self.transport.get_write_buffer_size():
                self._sent()

    def _sent(self) -> None:
        assert self._busy is not None
        (action, request), self._busy = self._busy, None
        self._server._ended(request, action.paid)
        if action.close:
            self.transport.close()
        elif self._input:
            asyncio.get_running_loop().call_soon(self._next)


class ChatServer:
    """Serves in a thread between entering and leaving; a script that raised fails the block on leaving.

    `record=False` keeps counts only, so that memory does not grow with the number of requests.
    """

    def __init__(self, script: Script, *, port: int = 0, record: bool = True) -> None:
        self._script = script
        self._port = port
        self._record = record
        self._lock = threading.RLock()
        self._received: list[Received] = []
        self._paid: Counter[str] = Counter()
        self._errors: list[BaseException] = []
        self._open: set[_Connection] = set()
        self._in_flight = 0
        self._counts = {"requests": 0, "answers": 0, "peak_in_flight": 0, "connections": 0}
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The base URL a client is given."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def received(self) -> list[Received]:
        """Every request of any path in order of arrival; empty with `record=False`."""
        with self._lock:
            return list(self._received)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The bodies of the chat completions asked for."""
        return [item.body for item in self.received if item.is_chat]

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers that came with each of `requests`, names in lower case."""
        return [item.headers for item in self.received if item.is_chat]

    @property
    def paid(self) -> Counter[str]:
        """How many whole answers of status 200 were sent, by the canonical JSON of what was asked."""
        with self._lock:
            return Counter(self._paid)

    @property
    def stats(self) -> dict[str, int]:
        """Since the start: chat `requests`, whole `answers` sent, `peak_in_flight`, `connections` opened."""
        with self._lock:
            return dict(self._counts)

    @property
    def peak_in_flight(self) -> int:
        """The most chat requests that waited for their reply at the same time."""
        return self.stats["peak_in_flight"]

    @property
    def connections(self) -> int:
        """Connections opened since the start."""
        return self.stats["connections"]

    async def serve(self) -> None:
        """Serves until `stop`."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listener = await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024)
        self._port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        listener.close()
        # A turn of the loop closes the sockets; connections that were just accepted are made in one of the next, and
        # of a busy server there may be many: it ends once no turn brings one any more.
        idle = 0
        while idle < 10:
            idle = 0 if self._open else idle + 1
            for connection in list(self._open):
                connection.transport.abort()
            await asyncio.sleep(0)

    def stop(self) -> None:
        """Ends `serve`, from any thread."""
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)

    def __enter__(self) -> ChatServer:
        self._thread = threading.Thread(target=self._run, name="chat server", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._errors:
            raise self._errors[0]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._thread is not None
        self.stop()
        self._thread.join()
        if self._errors and kind is None:
            raise self._errors[0]

    def _run(self) -> None:
        try:
            asyncio.run(self.serve())
        except Exception as error:
            self._errors.append(error)
            self._ready.set()

    def _opened(self, connection: _Connection) -> None:
        self._open.add(connection)
        with self._lock:
            self._counts["connections"] += 1

    def _arrived(self, request: Received) -> Action:
        """Counts a request and says what happens to it."""
        if self._record:
            with self._lock:
                self._received.append(request)
        if not request.is_chat:
            return self._other(request)
        with self._lock:
            number = self._counts["requests"]
            self._counts["requests"] += 1
            self._in_flight += 1
            self._counts["peak_in_flight"] = max(self._counts["peak_in_flight"], self._in_flight)
        if not isinstance(request.body, dict):
            return status(400)
        try:
            return self._script(request.body, number)
        except Exception as error:
            self._errors.append(error)
            return status(500, {"x-should-retry": "false"})

    def _other(self, request: Received) -> Action:
        match request.method, request.path:
            case "GET", "/health":
                content: Any = {"status": "ok"}
            case "GET", "/v1/models":
                content = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "me"}]}
            case "GET", "/stats":
                content = self.stats
            case _:
                return status(404)
        return status(200, body=json.dumps(content).encode())

    def _ended(self, request: Received, paid: bool) -> None:
        """A request was replied to, or its connection is gone."""
        if not request.is_chat:
            return
        with self._lock:
            self._in_flight -= 1
            self._counts["answers"] += paid
            if paid and self._record:
                self._paid[canonical(request.body)] += 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until it is interrupted or terminated."""
    parser = argparse.ArgumentParser(description="A scriptable chat server on loopback.")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--text", default='{"reason": "side", "score": 7}', help="the text of every answer")
    parser.add_argument("--script", help="MODULE:NAME of a script, instead of --text")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before every reply")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="share of requests that meet a transient fault")
    parser.add_argument("--seed", type=int, default=0, help="of those faults")
    options = parser.parse_args(arguments)
    script = always(answer(options.text))
    if options.script:
        module, _, name = options.script.partition(":")
        script = getattr(importlib.import_module(module), name)
    if options.fail_rate > 0:
        script = failing(options.fail_rate, options.seed, script)
    if options.latency > 0:
        script = delayed(options.latency, script)
    asyncio.run(_serve(ChatServer(script, port=options.port, record=False)))


async def _serve(server: ChatServer) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, server.stop)
    serving = asyncio.create_task(server.serve())
    while not server._ready.is_set() and not serving.done():
        await asyncio.sleep(0)
    if server._ready.is_set():
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
    await serving


if __name__ == "__main__":
    main()
