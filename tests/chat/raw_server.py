"""A server that sends whatever bytes a test likes, for as long as it likes, on loopback only."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Speech = Callable[[socket.socket], None]
"""Called with a connection on which a whole request has arrived; whatever it sends is the reply."""


def sending(*parts: bytes | float) -> Speech:
    """Sends these bytes and closes; a number is a pause of so many seconds, or until the client has gone."""

    def speech(connection: socket.socket) -> None:
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(part)
                continue
            connection.settimeout(part)
            with suppress(TimeoutError):
                connection.recv(1)
            connection.settimeout(20)

    return speech


def endless(head: bytes, part: bytes, pause: float = 0.0, most: int = 4000) -> Speech:
    """Sends the head, and then the part again and again until the client has gone."""

    def speech(connection: socket.socket) -> None:
        connection.sendall(head)
        waiting = threading.Event()
        for _ in range(most):
            connection.sendall(part)
            waiting.wait(pause)

    return speech


def reply(body: bytes, *headers: str, length: int | None = None, status: str = "200 OK") -> bytes:
    """A whole HTTP reply."""
    fields = "".join(f"{line}\r\n" for line in (*headers, f"Content-Length: {len(body) if length is None else length}"))
    return f"HTTP/1.1 {status}\r\n{fields}\r\n".encode("latin-1") + body


def _more(connection: socket.socket, received: bytes, enough: Callable[[bytes], bool]) -> bytes:
    """What has come once it is enough; a client that hangs up before ends the thread, which would turn for ever."""
    while not enough(received):
        part = connection.recv(65536)
        if not part:
            raise ConnectionAbortedError
        received += part
    return received


@contextmanager
def raw_server(speech: Speech) -> Iterator[str]:
    """The base URL of a server whose every connection hears the speech once."""
    listener = socket.create_server(("127.0.0.1", 0))
    ends = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(20)
            head, _, body = _more(connection, b"", lambda got: b"\r\n\r\n" in got).partition(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            _more(connection, body, lambda got: len(got) >= length)
            speech(connection)

    def accept() -> None:
        while not ends.is_set():
            with suppress(OSError):
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        ends.set()
        with suppress(OSError):
            socket.create_connection(listener.getsockname(), timeout=1).close()
        thread.join(timeout=5)
        listener.close()
