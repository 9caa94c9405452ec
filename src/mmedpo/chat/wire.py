"""The wire format: a chat completion as OpenAI's API has it, asked for and read; no transport.

What a server says is data. Its texts are made storable, its numbers are whole, finite and within reason
or count as not told, and nothing of it is ever quoted in a failure.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mmedpo.chat.model import (
    BYTES_PER_TOKEN,
    ChatReply,
    ChatRequest,
    Finish,
    Transient,
    Usage,
    estimated_input_tokens,
)
from mmedpo.config import EndpointSettings
from mmedpo.errors import brief

MOST_TOKENS = 100_000_000
"""Of one call: no model reads or writes as many, so a larger count is a fault of the server and counts as not told."""

_ENDED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence"})
"""What servers call it when a model ended its reply by itself; nothing else is a whole reply."""
_CUT = frozenset({"length", "max_tokens", "max_length", "model_length"})


def request_body(settings: EndpointSettings, request: ChatRequest) -> dict[str, Any]:
    """The JSON body of a chat completion; images become data URLs."""
    images = iter(request.images)
    messages: list[dict[str, Any]] = []
    for turn in request.messages:
        if not turn.images:
            messages.append({"role": turn.role, "content": turn.text})
            continue
        parts: list[dict[str, Any]] = []
        for part in turn.content:
            if part.type == "text":
                parts.append({"type": "text", "text": part.text or ""})
            else:
                encoded = base64.b64encode(next(images).encode(settings.image_side)).decode()
                parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}})
        messages.append({"role": turn.role, "content": parts})
    body: dict[str, Any] = {"model": settings.model, "messages": messages, "temperature": settings.temperature}
    if settings.top_p != 1.0:
        body["top_p"] = settings.top_p
    if "max_completion_tokens" not in settings.extra:
        body["max_tokens"] = settings.max_tokens
    if request.schema is not None and settings.structured == "json_schema":
        schema = {"name": "reply", "strict": True, "schema": request.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.schema is not None and settings.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    # The seed of a draw comes last: one for all would make every draw of a question the same.
    return body | settings.extra | ({} if request.seed is None else {"seed": request.seed})


def parse_completion(content: bytes, settings: EndpointSettings, request: ChatRequest) -> ChatReply:
    """Reads the body of an answer.

    Raises:
        Transient: no chat completion: cut, not JSON, or without a choice (a proxy's page, a server going down).
    """
    try:
        body = json.loads(content, object_pairs_hook=each_key_once)
    except (ValueError, RecursionError):
        raise Transient("reply is not JSON") from None
    if _error_of(body):
        raise Transient("reply is an error")
    reply = read_completion(body, settings, request)
    if reply is None:
        raise Transient("reply is no chat completion")
    return reply


def read_completion(body: Any, settings: EndpointSettings, request: ChatRequest) -> ChatReply | None:
    """The reply in a parsed body; None where it is no chat completion, or says that it is an error."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content = _text(message.get("content"))
        refusal = _text(message.get("refusal")) or _text(message.get("content"), "refusal")
        ended = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    if _error_of(body):
        return None
    said = content or refusal
    usage = _usage(body.get("usage"))
    if usage is None:
        written = len(said.encode()) // BYTES_PER_TOKEN + 1
        usage = Usage(estimated_input_tokens(settings, request), written, estimated=True)
    return ChatReply(said, _served(body, settings), "refusal" if refusal else _finish(ended), usage)


def completion_body(reply: ChatReply) -> dict[str, Any]:
    """The body a server would have sent."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.finish == "refusal":
        message |= {"content": None, "refusal": reply.text}
    usage = {"prompt_tokens": reply.usage.input_tokens, "completion_tokens": reply.usage.output_tokens}
    finish = "content_filter" if reply.finish == "refusal" else reply.finish
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"object": "chat.completion", "model": reply.model, "choices": [choice], "usage": usage}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: `Retry-After` in seconds or as a date; None when absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if not value or len(value) > 100:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, ArithmeticError, LookupError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def error_code(content: bytes, request: ChatRequest) -> str:
    """The short code of an error's body, if it is one; its message may quote the request and is not used."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    error = body.get("error", body) if isinstance(body, dict) else {}
    code = error.get("code") or error.get("type") if isinstance(error, dict) else ""
    if not isinstance(code, str) or not re.fullmatch(r"[a-zA-Z_][\w.-]{0,40}", code, re.ASCII):
        return ""
    return "" if any(code.lower() in turn.text.lower() for turn in request.messages) else code


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError where a key stands twice, for readers differ in which of them they take."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice in it")
    return content


def _error_of(body: Any) -> bool:
    """Whether a body says that the call failed, whatever text stands beside that."""
    if not isinstance(body, dict):
        return False
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return bool(body.get("error")) or (isinstance(first, dict) and bool(first.get("error")))


def _text(value: Any, kind: str = "text") -> str:
    """A text of a message, or the texts among its parts; thoughts that come as parts of their own are none."""
    if isinstance(value, list):
        return "".join(_plain(part[kind]) for part in value if part["type"] == kind)
    return _plain(value) if kind == "text" else ""


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("no text")
    # Half a pair of code units is no character: no file and no database takes it.
    return value.encode("utf-8", "replace").decode()


def _finish(reason: Any) -> Finish:
    if reason is None:
        return "stop"
    told = reason.lower() if isinstance(reason, str) else ""
    if told == "content_filter":
        return "refusal"
    return "stop" if told in _ENDED else "length" if told in _CUT else "other"


def _usage(reported: Any) -> Usage | None:
    if not isinstance(reported, Mapping):
        return None
    read, written = _count(reported.get("prompt_tokens")), _count(reported.get("completion_tokens"))
    return None if read is None or written is None else Usage(read, written)


def _count(told: Any) -> int | None:
    # True is an int as well, and no count.
    return told if type(told) is int and 0 <= told <= MOST_TOKENS else None


def _served(body: Any, settings: EndpointSettings) -> str:
    model, version = body.get("model"), body.get("system_fingerprint")
    served = brief(model, 500) if isinstance(model, str) and model else settings.model
    return f"{served}#{brief(version, 100)}" if isinstance(version, str) and version else served
