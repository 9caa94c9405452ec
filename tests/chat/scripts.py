"""What the scriptable chat server does with a request: actions, and scripts that choose among them."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from typing import Any

MODEL = "served-name@rev"


@dataclass(frozen=True)
class Action:
    """What happens to one request."""

    reply: bytes | None
    """All that is sent, head and body; nothing is ever sent for `None`."""
    latency: float = 0.0
    """Seconds between the last byte of the request and the first of the reply."""
    close: bool = False
    """Whether the connection is closed after `reply`."""
    paid: bool = False
    """Whether this is a whole answer with status 200, which a provider would bill."""

    def after(self, seconds: float) -> Action:
        """The same, later."""
        return replace(self, latency=seconds)


Script = Callable[[dict[str, Any], int], Action]
"""From the body of a request and its number (from 0, in order of arrival) to what happens."""


def _reply(code: int, body: bytes, headers: Mapping[str, str] | None = None, length: int | None = None) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body) if length is None else length)}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **(headers or {})}.items())
    return f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n{lines}\r\n".encode() + body


def _completion(
    text: str | None, usage: tuple[int, int], finish: str, refusal: str | None, model: str
) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": counts,
    }


@lru_cache(maxsize=1024)
def answer(
    text: str | None,
    usage: tuple[int, int] = (20, 5),
    finish: str = "stop",
    refusal: str | None = None,
    model: str = MODEL,
) -> Action:
    """A whole answer; `usage` is tokens in and out. A `refusal` comes with the text None, as OpenAI sends it."""
    return Action(_reply(200, json.dumps(_completion(text, usage, finish, refusal, model)).encode()), paid=True)


def status(code: int, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Action:
    """Any status, by default with an error object as OpenAI sends it."""
    error = {"message": f"scripted {code}", "type": "scripted", "param": None, "code": None}
    content = json.dumps({"error": error}).encode() if body is None else body
    return Action(_reply(code, content, headers), paid=code == 200)


def redirect(location: str, code: int = 307) -> Action:
    """Sends the client elsewhere; 307 asks it to send the same body again."""
    return status(code, {"Location": location}, b"")


def hang() -> Action:
    """Never answers: the client has to give up."""
    return Action(None)


def cut(share: float = 0.0, text: str = "cut") -> Action:
    """Closes the connection before any byte, or for `share` > 0 after the head and that share of the body."""
    head, _, body = _whole(text).partition(b"\r\n\r\n")
    sent = head + b"\r\n\r\n" + body[: int(share * len(body))]
    return Action(sent if share > 0 else b"", close=True)


def truncated(text: str = "truncated") -> Action:
    """Half an answer whose Content-Length says that this is all: sound HTTP, broken JSON."""
    body = _whole(text).partition(b"\r\n\r\n")[2]
    return Action(_reply(200, body[: len(body) // 2]))


def malformed(body: bytes = b"<html>upstream is busy</html>") -> Action:
    """Status 200 with a body that is not JSON."""
    return Action(_reply(200, body))


def incomplete(missing: str) -> Action:
    """A JSON answer without its `choices` or `usage`, without any choice (`choice`), or whose `content` is null."""
    completion = _completion("incomplete", (20, 5), "stop", None, MODEL)
    match missing:
        case "choices" | "usage":
            del completion[missing]
        case "choice":
            completion["choices"] = []
        case "content":
            completion["choices"][0]["message"]["content"] = None
        case _:
            raise ValueError(f"cannot leave out {missing!r}; one of choices, choice, usage, content")
    return Action(_reply(200, json.dumps(completion).encode()), paid=True)


def _whole(text: str) -> bytes:
    reply = answer(text).reply
    assert reply is not None
    return reply


def always(action: Action) -> Script:
    """The same for every request."""
    return lambda request, number: action


def sequence(actions: Sequence[Action]) -> Script:
    """One after the other in order of arrival; the last repeats."""
    return lambda request, number: actions[min(number, len(actions) - 1)]


def delayed(seconds: float, then: Script) -> Script:
    """The same, every action that much later."""

    def script(request: dict[str, Any], number: int) -> Action:
        action = then(request, number)
        return action.after(action.latency + seconds)

    return script


TRANSIENT = (status(429, {"Retry-After": "0"}), status(500), status(503), cut(), cut(0.5))


def failing(rate: float, seed: int, then: Script, faults: Sequence[Action] = TRANSIENT) -> Script:
    """One of `faults` with probability `rate`, else what `then` says.

    Drawn from the content of the request and how often that content was seen, not from the order of arrival: a run
    with many requests in flight meets the same faults again. Remembers a digest for every distinct request.
    """
    seen: Counter[bytes] = Counter()

    def script(request: dict[str, Any], number: int) -> Action:
        digest = hashlib.sha256(canonical(request).encode()).digest()
        draw = random.Random(f"{seed} {seen[digest]} {digest.hex()}")
        seen[digest] += 1
        return draw.choice(faults) if draw.random() < rate else then(request, number)

    return script


def canonical(body: Any) -> str:
    """The same text for equal JSON."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
