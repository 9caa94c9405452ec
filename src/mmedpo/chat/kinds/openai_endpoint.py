"""An OpenAI-compatible server: one attempt of one call.

Spoken to directly, not through a client library: those take accounts, headers and addresses from the
environment, read a reply as long as it goes on, and unpack it however large it gets.
"""

from __future__ import annotations

import asyncio
import json
import os
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from mmedpo.chat.kind import EVERY
from mmedpo.chat.model import CallFailed, ChatReply, ChatRequest, Transient
from mmedpo.chat.wire import error_code, parse_completion, request_body, retry_after
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.registry import register

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 4_000_000
"""Size of a reply, unpacked; the longest that `max_tokens` allows has a quarter of it."""
MOST_BYTES_OF_AN_ERROR = 64_000

_TRY_AGAIN = frozenset({408, 409, 425, 429})
_FOR_ALL = frozenset({401, 402, 403, 404, 405})
"""Status codes that every further call would meet as well."""
_ACCOUNT = {"OPENAI_ORG_ID": "OpenAI-Organization", "OPENAI_PROJECT_ID": "OpenAI-Project"}
"""Variables that say whose account of OpenAI pays; no other server is told."""


@register("chat-model", "openai")
class OpenAIEndpoint:
    """Sends chat completions to one server.

    Redirects are not followed, and a server of ours is never reached through a proxy: either could carry
    what was meant for a trusted host to another one.
    """

    uses = EVERY - {"recording", "device", "dtype"}
    needs = frozenset({"base_url"})
    sends = True
    batches = True

    def __init__(self, name: str, settings: EndpointSettings, direct: bool) -> None:
        """Opens no connection yet.

        Args:
            name: the endpoint's name in the recipe, for error messages.
            settings: where and how.
            direct: True for a local endpoint: proxies of the environment are not used.

        Raises:
            ChatError: the environment variable of the key is not set, or a proxy of the environment is none.
        """
        self.name = name
        self.settings = settings
        self._url = f"{settings.base_url.rstrip('/')}/chat/completions"
        self._headers = request_headers(name, settings)
        self._proxy = None if direct else _proxy_for(settings)
        self._session: aiohttp.ClientSession | None = None

    @staticmethod
    def ready(name: str, settings: EndpointSettings) -> None:
        """Raises ChatError where the key is missing."""
        read_key(name, settings)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """One attempt; see `ChatModel`."""
        body = json.dumps(request_body(self.settings, request), ensure_ascii=False).encode("utf-8", "replace")
        session = self._session = self._session or self._connect()
        try:
            # For a silence, and for a server that sends a byte now and then.
            async with asyncio.timeout(self.settings.timeout):
                status, headers, content = await self._post(session, body)
        except CallFailed:
            raise
        except TimeoutError:
            raise Transient("timeout") from None
        except Exception as error:
            # Their exceptions may carry request and reply, which hold what the data says: none goes any further.
            raise _broken(error) from None
        if not 200 <= status < 300:
            raise self._failure(status, headers, error_code(content, request))
        return parse_completion(content, self.settings, request)

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()

    async def _post(self, session: aiohttp.ClientSession, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        async with session.post(
            self._url, data=body, headers=self._headers, allow_redirects=False, proxy=self._proxy
        ) as answer:
            wanted = 200 <= answer.status < 300
            most = MOST_BYTES if wanted else MOST_BYTES_OF_AN_ERROR
            content = bytearray()
            async for part in _parts(answer):
                content += part
                if len(content) > most:
                    # Not read to its end, so the connection is of no further use.
                    answer.close()
                    if wanted:
                        raise CallFailed("reply too large")
                    return answer.status, answer.headers, b""
            encoding = answer.headers.get("Content-Encoding", "").strip().lower()
            plain = _unpacked(bytes(content), encoding) if wanted else bytes(content)
            return answer.status, answer.headers, plain

    def _connect(self) -> aiohttp.ClientSession:
        import aiohttp

        return aiohttp.ClientSession(
            # A connection for each call: what a server sends late on an old one would be the next call's answer.
            connector=aiohttp.TCPConnector(limit=self.settings.concurrency, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            # Neither proxies nor passwords (.netrc) but those given here.
            trust_env=False,
            auto_decompress=False,
        )

    def _failure(self, status: int, headers: Mapping[str, str], code: str) -> Exception:
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


async def _parts(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body as it comes, to its end.

    Raises:
        Transient: the connection is closed and no end will come: aiohttp closes it where the framing of a later part
            is broken, and leaves who waits for that part waiting.
    """
    connection = answer.connection
    protocol = connection.protocol if connection is not None else None
    closed = protocol.closed if protocol is not None else None
    lost = protocol is not None and closed is None  # before it was asked for
    if closed is not None:
        closed.add_done_callback(_met)
    while not answer.content.at_eof():
        reading = asyncio.ensure_future(answer.content.readany())
        try:
            awaited: list[asyncio.Future[Any]] = [reading] if closed is None else [reading, closed]
            if not lost:
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)  # what came before the end is handed out by it
            if not reading.done():
                raise Transient("reply is no HTTP")
            yield reading.result()
        finally:
            reading.cancel()


def _met(ended: asyncio.Future[None]) -> None:
    """Takes note of how a connection ended: what nobody takes note of is printed, with its traceback."""
    if not ended.cancelled():
        ended.exception()


def request_headers(name: str, settings: EndpointSettings) -> dict[str, str]:
    """Every header of a request that says anything of us; raises ChatError where the key is missing."""
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    headers["User-Agent"] = "mmedpo"
    if key := read_key(name, settings):
        headers["Authorization"] = f"Bearer {key}"
    if settings.base_url.startswith("https:") and f".{settings.host}".endswith(".api.openai.com"):
        for variable, header in _ACCOUNT.items():
            if value := os.environ.get(variable, "").strip():
                headers[header] = _one_word(variable, value)
    return headers


def read_key(name: str, settings: EndpointSettings) -> str:
    """The key from the environment; empty where none is needed.

    Raises:
        ChatError: the variable is not set, or holds no key; the message names the variable only.
    """
    if not settings.api_key_env:
        return ""
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise ChatError(
            f"endpoint {name!r} needs a key in the environment variable {settings.api_key_env}, which is not set; "
            f"export {settings.api_key_env}=... before starting"
        )
    return _one_word(settings.api_key_env, key)


def _one_word(variable: str, value: str) -> str:
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise ChatError(f"the environment variable {variable} holds blanks or special characters; set it anew")
    return value


def _proxy_for(settings: EndpointSettings) -> str | None:
    """The proxy that the environment names for a server outside."""
    proxies = getproxies_environment()
    scheme = settings.base_url.partition(":")[0]
    proxy = proxies.get(scheme) or proxies.get("all")
    # An exception may name the port as well.
    if not proxy or proxy_bypass(settings.host) or proxy_bypass(urlsplit(settings.base_url).netloc):
        return None
    address = proxy if "://" in proxy else f"http://{proxy}"
    if not address.startswith(("http://", "https://")):
        raise ChatError(
            f"the proxy that the environment names for {scheme} is no HTTP proxy; unset it, or set no_proxy"
        )
    return address


def _unpacked(content: bytes, encoding: str) -> bytes:
    """The body of a server that packs it although it was not asked to."""
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Transient("reply in an unknown encoding")
    machine = zlib.decompressobj(wbits=47)
    try:
        plain = machine.decompress(content, MOST_BYTES + 1)
    except zlib.error:
        raise Transient("reply cannot be unpacked") from None
    if len(plain) > MOST_BYTES:
        raise CallFailed("reply too large")
    if not machine.eof:
        raise Transient("connection cut")
    if machine.unused_data:
        raise Transient("reply cannot be unpacked")  # the rest of it would be lost
    return plain


def _broken(error: Exception) -> Transient:
    """What became of a connection."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):
        return Transient("no connection", unreachable=True)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError):
        return Transient("connection cut")
    if isinstance(error, aiohttp.ClientResponseError):
        return Transient("reply is no HTTP")
    return Transient(f"transport error {type(error).__name__}")
