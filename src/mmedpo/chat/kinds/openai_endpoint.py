"""An OpenAI-compatible server: one attempt of one call, by the `openai` client."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mmedpo.chat.model import BYTES_PER_TOKEN, CallFailed, ChatReply, ChatRequest, Finish, Transient, Usage
from mmedpo.chat.model import estimated_input_tokens as estimated_input
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.registry import register

_FINISH: dict[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "refusal"}
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_FOR_ALL = frozenset({401, 402, 403, 404, 405})
"""Status codes that every further call would meet as well."""


@register("chat-model", "openai")
class OpenAIEndpoint:
    """Sends chat completions to one server.

    Redirects are not followed, and a server of ours is never reached through a proxy: either could carry
    what was meant for a trusted host to another one.
    """

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        """Opens no connection yet.

        Args:
            name: the endpoint's name in the recipe, for error messages.
            settings: where and how.
            direct: True for a local endpoint: proxies of the environment are not used.

        Raises:
            ChatError: the environment variable of the key is not set.
        """
        import httpx2
        import openai

        self.name = name
        self.settings = settings
        key = read_key(name, settings)
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=key or "none",
            max_retries=0,
            timeout=settings.timeout,
            http_client=openai.DefaultAioHttpClient(
                trust_env=not direct,
                follow_redirects=False,
                timeout=settings.timeout,
                limits=httpx2.Limits(max_connections=settings.concurrency),
            ),
        )

    async def complete(self, request: ChatRequest) -> ChatReply:
        """One attempt; see `ChatModel`."""
        import httpx2
        import openai

        body = request_body(self.settings, request)
        try:
            # The client's own timeout is for a silence; this one is also for a server that sends a byte now and then.
            async with asyncio.timeout(self.settings.timeout):
                reply = await self._client.post("/chat/completions", cast_to=httpx2.Response, body=body)
        # Their exceptions carry request and reply, which hold what the data says: none of them goes any further.
        except TimeoutError:
            raise Transient("timeout") from None
        except openai.APIConnectionError as error:
            raise _broken(error) from None
        except openai.APIStatusError as error:
            raise self._failure(error.status_code, error.response.headers, error.body) from None
        except openai.OpenAIError as error:
            raise CallFailed(f"client error {type(error).__name__}") from None
        return parse_completion(reply.content, self.settings, request)

    async def close(self) -> None:
        """Closes every connection."""
        await self._client.close()

    def _failure(self, status: int, headers: Mapping[str, str], body: object) -> Exception:
        code = _code(body)
        told = f"HTTP {status}" + (f" ({code})" if code else "")
        where = f"endpoint {self.name!r} at {self.settings.host}"
        if 300 <= status < 400:
            return ChatError(f"{where} answers {told}, a redirect, which is not followed; correct base_url")
        if status in (401, 403):
            key = self.settings.api_key_env
            fix = f"check the key in ${key}" if key else "set api_key_env to the variable that holds the key"
            return ChatError(f"{where} answers {told}: not allowed; {fix}")
        if status == 429 and code == "insufficient_quota":
            return ChatError(f"{where} answers {told}: the account has no money left")
        if status in _FOR_ALL:
            return ChatError(f"{where} answers {told}; check base_url and model={self.settings.model!r}")
        if status in _TRY_AGAIN or status >= 500:
            return Transient(told, wait=retry_after(headers))
        return CallFailed(told)


def read_key(name: str, settings: EndpointSettings) -> str:
    """The key from the environment; empty where none is needed.

    Raises:
        ChatError: the variable is not set; the message names the variable only.
    """
    if not settings.api_key_env:
        return ""
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise ChatError(
            f"endpoint {name!r} needs a key in the environment variable {settings.api_key_env}, which is not set; "
            f"export {settings.api_key_env}=... before starting"
        )
    return key


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
    return body | settings.extra


def parse_completion(content: bytes, settings: EndpointSettings, request: ChatRequest) -> ChatReply:
    """Reads the body of an answer.

    Raises:
        Transient: no chat completion: cut, not JSON, or without a choice (a proxy's page, a server going down).
    """
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        raise Transient("reply is not JSON") from None
    try:
        return completion_of(body, settings, request)
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Transient("reply is no chat completion") from None


def completion_of(body: Any, settings: EndpointSettings, request: ChatRequest) -> ChatReply:
    """The reply in a parsed body; raises KeyError, IndexError, TypeError or AttributeError where it has none."""
    choice = body["choices"][0]
    message = choice["message"]
    content, refusal = message.get("content"), message.get("refusal")
    if not isinstance(content, str | None) or not isinstance(refusal, str | None):
        raise TypeError("content is no text")
    said = content or refusal or ""
    finish: Finish = "refusal" if refusal else _FINISH.get(str(choice.get("finish_reason")), "other")
    reported = body.get("usage") or {}
    read, written = reported.get("prompt_tokens"), reported.get("completion_tokens")
    if isinstance(read, int) and isinstance(written, int) and read >= 0 and written >= 0:
        usage = Usage(read, written)
    else:
        usage = Usage(estimated_input(settings, request), len(said.encode()) // BYTES_PER_TOKEN + 1, estimated=True)
    version = body.get("system_fingerprint")
    served = str(body.get("model") or settings.model)
    return ChatReply(said, f"{served}#{version}" if isinstance(version, str) and version else served, finish, usage)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: `Retry-After` in seconds or as a date; None when absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _code(body: object) -> str:
    """The short error code of a reply, if it is one; its message may quote the request and is not used."""
    error = body.get("error", body) if isinstance(body, Mapping) else {}
    code = error.get("code") or error.get("type") if isinstance(error, Mapping) else ""
    return code if isinstance(code, str) and re.fullmatch(r"[a-zA-Z_][\w.-]{0,40}", code) else ""


def _broken(error: BaseException) -> Transient:
    """What became of a connection; the client's transport calls a cut one a timeout."""
    names = set()
    cause: BaseException | None = error
    while cause is not None:
        names |= {kind.__name__ for kind in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    if "ClientConnectorError" in names:
        return Transient("no connection", unreachable=True)
    return Transient("timeout" if "SocketTimeoutError" in names else "connection cut")
