"""What broken and hostile servers send, each with how the one counted failure reads."""

from __future__ import annotations

import gzip
import json
import socket
import struct
import zlib
from typing import Any

from chat.raw_server import Speech, endless, reply, sending

SECRET = "Mrs Example has a nodule"


def completion(text: Any = "fine", usage: Any = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | more
    return {"model": "m", "choices": [choice], "usage": usage}


def body(text: Any = "fine", **more: Any) -> bytes:
    return json.dumps(completion(text, **more)).encode()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def bomb(packer: Any = gzip.compress) -> bytes:
    return packer(b" " * 60_000_000 + body())


def _reset(begun: bytes) -> Speech:
    def speech(connection: socket.socket) -> None:
        connection.sendall(begun)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing resets

    return speech


SPEECHES: dict[str, tuple[Speech, str]] = {
    "endless chunks": (endless(CHUNKED, chunk(b" " * 65536)), "reply too large"),
    "endless without length": (endless(b"HTTP/1.1 200 OK\r\n\r\n", b"[" * 65536), "reply too large"),
    "endless head": (
        endless(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"y" * 4000 + b"\r\n"),
        "reply is no HTTP|connection",
    ),
    "endless line": (endless(b"HTTP/1.1 200 ", b"O" * 65536), "reply is no HTTP|connection"),
    "endless 100": (endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", most=10**7), "timeout|connection|no HTTP"),
    "endless error page": (endless(b"HTTP/1.1 400 No\r\n\r\n", SECRET.encode() * 4000), "HTTP 400"),
    "a byte now and then": (endless(CHUNKED, chunk(b" "), pause=0.05), "timeout"),
    "a head now and then": (endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", pause=0.05), "timeout"),
    "a bomb in gzip": (sending(reply(bomb(), "Content-Encoding: gzip")), "reply too large"),
    "a bomb in deflate": (sending(reply(bomb(zlib.compress), "Content-Encoding: deflate")), "reply too large"),
    "gzip that is none": (sending(reply(body(), "Content-Encoding: gzip")), "cannot be unpacked"),
    "gzip that is cut": (sending(reply(gzip.compress(body())[:-9], "Content-Encoding: gzip")), "connection cut"),
    "an encoding of its own": (sending(reply(body(), "Content-Encoding: rot13, gzip")), "unknown encoding"),
    "more promised than sent": (sending(reply(body(), length=10_000)), "connection cut"),
    "less promised than sent": (sending(reply(body(), length=20)), "reply is not JSON|reply is no HTTP"),
    "a negative length": (sending(reply(body(), length=-5)), "reply is no HTTP|transport|connection"),
    "no HTTP": (sending(SECRET.encode() + b"\r\n\r\n"), "reply is no HTTP|connection"),
    "a broken chunk": (sending(CHUNKED, b"zz\r\n", body()), "reply is no HTTP|transport|connection"),
    "a broken chunk behind a good one": (
        sending(CHUNKED + chunk(b'{"choices": '), 0.1, b"zz\r\n", body(), 20.0),
        "reply is no HTTP|transport|connection",
    ),
    "a chunk longer than it says": (
        sending(CHUNKED, 0.1, b"4\r\n" + body() + b"\r\n", 20.0),
        "reply is no HTTP|transport|connection",
    ),
    "a chunk of no length": (sending(CHUNKED, 0.1, b"\r\n" + body(), 20.0), "reply is no HTTP|transport|connection"),
    "a broken trailer": (
        sending(CHUNKED + chunk(body()), 0.1, b"0\r\n" + b"x" * 100_000, 20.0),
        "reply is no HTTP|transport|connection",
    ),
    "nothing": (sending(b""), "connection cut"),
    "no content": (sending(b"HTTP/1.1 204 No Content\r\n\r\n"), "reply is not JSON"),
    "deep": (sending(reply(b'{"choices":' + b"[" * 900_000)), "reply is not JSON"),
    "deep and closed": (sending(reply(b"[" * 100_000 + b"]" * 100_000)), "reply is not JSON"),
    "a number without end": (sending(reply(b'{"choices": ' + b"9" * 100_000 + b"}")), "reply is not JSON"),
    "bytes of another charset": (
        sending(reply('{"choices": ["é"]}'.encode("latin-1"), "Content-Type: application/json; charset=latin-1")),
        "reply is not JSON",
    ),
    "zeros": (sending(reply(bytes(1000))), "reply is not JSON|no chat completion"),
    "a list": (sending(reply(b"[1, 2]")), "no chat completion"),
    "a text": (sending(reply(json.dumps(SECRET).encode())), "no chat completion"),
    "choices that are a text": (sending(reply(b'{"choices": "abc"}')), "no chat completion"),
    "a message that is a list": (sending(reply(b'{"choices": [{"message": [1]}]}')), "no chat completion"),
    "an error beside an answer": (
        sending(reply(json.dumps(completion() | {"error": {"code": "overloaded", "message": SECRET}}).encode())),
        "reply is an error",
    ),
    "an error inside the choice": (sending(reply(body(error={"code": 502, "message": SECRET}))), "reply is an error"),
    "two lists of choices": (
        sending(reply(b'{"choices": [{"message": {"content": "yes"}}], ' + body("no")[1:])),
        "reply is not JSON",
    ),
    "two ends": (
        sending(
            reply(b'{"choices": [{"finish_reason": "length", "finish_reason": "stop", "message": {"content": ""}}]}')
        ),
        "reply is not JSON",
    ),
    "gzip with more behind it": (
        sending(reply(gzip.compress(body()) + gzip.compress(SECRET.encode()), "Content-Encoding: gzip")),
        "cannot be unpacked",
    ),
    "texts inside texts": (
        sending(
            reply(
                b'{"choices": [{"message": {"content": %s}}]}'
                % (b'[{"type": "text", "text": ' * 400 + b'"a"' + b"}]" * 400)
            )
        ),
        "no chat completion",
    ),
    "a reset in the middle": (_reset(reply(body())[:60]), "connection cut"),
    "content that is an object": (sending(reply(body({"a": SECRET}))), "no chat completion"),
    "parts that are none": (sending(reply(body([1, 2]))), "no chat completion"),
}
