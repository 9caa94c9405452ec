"""Lines to the scriptable server, and requests for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from mmedpo.chat.budget import Budget
from mmedpo.chat.cache import CallCache
from mmedpo.chat.kinds.openai_endpoint import OpenAIEndpoint
from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest, text_message
from mmedpo.config import ChatSettings, EndpointSettings

T = TypeVar("T")


def endpoint(url: str, **settings: Any) -> EndpointSettings:
    """Settings of the test server, impatient so that tests do not wait."""
    quick = {"model": "m", "base_url": url, "timeout": 5.0, "longest_wait": 0.01}
    return EndpointSettings(**{**quick, **settings})


def request(text: str = "hello", **fields: Any) -> ChatRequest:
    return ChatRequest((text_message("user", text),), "test@1", **fields)


@asynccontextmanager
async def open_line(
    url: str, cache: Path, limits: dict[str, Any] | None = None, name: str = "judge", run: str = "run", **settings: Any
) -> AsyncIterator[Line]:
    chosen = endpoint(url, **settings)
    store = CallCache(cache, run)
    limit = ChatSettings(endpoints={name: chosen}, **(limits or {}))
    model = OpenAIEndpoint(name, chosen, direct=True)
    try:
        yield Line(name, chosen, model, store, Budget(limit, store.spent()))
    finally:
        await model.close()
        store.close()


def with_line(
    url: str,
    cache: Path,
    work: Callable[[Line], Coroutine[Any, Any, T]],
    limits: dict[str, Any] | None = None,
    **more: Any,
) -> T:
    """Runs `work` with an open line, to its end."""

    async def main() -> T:
        async with open_line(url, cache, limits, **more) as line:
            return await work(line)

    return asyncio.run(main())
