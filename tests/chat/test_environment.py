"""What the environment says for one server reaches no other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chat.chat_server import ChatServer
from chat.lines import request, with_line
from chat.scripts import always, answer
from mmedpo.chat.kinds.openai_endpoint import OpenAIEndpoint, request_headers
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError

VARIABLES = {
    "OPENAI_API_KEY": "sk-of-openai",
    "OPENAI_ADMIN_KEY": "sk-of-the-admin",
    "OPENAI_ORG_ID": "org-secret",
    "OPENAI_PROJECT_ID": "proj-secret",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/secret",
    "OPENAI_CUSTOM_HEADERS": "X-Gateway: gateway-secret\nAuthorization: Bearer other-secret",
    "OPENAI_WEBHOOK_SECRET": "hook-secret",
    "AZURE_OPENAI_API_KEY": "azure-secret",
    "AZURE_OPENAI_AD_TOKEN": "azure-token-secret",
    "OPENAI_API_TYPE": "azure",
    "OPENAI_ORGANIZATION": "organization-secret",
    "OPENAI_DEFAULT_HEADERS": '{"X-Team": "header-secret"}',
    "ANTHROPIC_API_KEY": "sk-ant-secret",
    "ANTHROPIC_AUTH_TOKEN": "token-secret",
    "ANTHROPIC_CUSTOM_HEADERS": "X-Other: ant-header-secret",
    "HF_TOKEN": "hf-secret",
    "AIOHTTP_HEADERS": "X: aiohttp-secret",
    "HTTP_PROXY_AUTHORIZATION": "Basic secret",
}


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password netrc-secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.mark.parametrize("direct", [True, False])
def test_a_server_of_ours_is_told_nothing_that_is_meant_for_another(
    tmp_path: Path, crowded: None, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not direct:
        made = OpenAIEndpoint.__init__
        monkeypatch.setattr(
            OpenAIEndpoint, "__init__", lambda self, name, settings, **_: made(self, name, settings, False)
        )
    with ChatServer(always(answer("x"))) as server:
        with_line(server.url, tmp_path / "c.sqlite", lambda line: line.ask(request("hello")))
        (item,) = server.received
    assert set(item.headers) <= {
        *("host", "content-type", "content-length", "accept", "accept-encoding", "user-agent", "connection"),
    }
    assert not any("secret" in value or "sk-" in value for value in item.headers.values())


def test_an_account_of_openai_is_told_to_openai_alone(crowded: None) -> None:
    def headers(url: str) -> dict[str, str]:
        return request_headers("e", EndpointSettings(model="m", base_url=url, api_key_env="OPENAI_API_KEY"))

    told = headers("https://api.openai.com/v1")
    assert (told["OpenAI-Organization"], told["OpenAI-Project"]) == ("org-secret", "proj-secret")
    assert told["Authorization"] == "Bearer sk-of-openai"
    assert "OpenAI-Project" in headers("https://eu.api.openai.com/v1")
    for other in (
        "http://api.openai.com/v1",
        "https://api.openai.com.example.org/v1",
        "https://myapi.openai.com/v1",
        "https://example.org/api.openai.com/v1",
        "http://127.0.0.1:8000/v1",
    ):
        assert not [name for name in headers(other) if name.startswith("OpenAI")]


def test_a_proxy_of_the_environment_is_for_servers_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(always(answer("by proxy"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1").replace("http://", "http://me:pass@"))
        monkeypatch.setenv("no_proxy", "")
        outside = OpenAIEndpoint("e", EndpointSettings(model="m", base_url="http://example.invalid/v1"), direct=False)
        with pytest.raises(ChatError, match="404"):
            asyncio.run(one_call(outside))
        (item,) = proxy.received
        assert (item.method, item.path) == ("POST", "http://example.invalid/v1/chat/completions")
        assert item.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
        monkeypatch.setenv("no_proxy", "example.invalid")
        inside = OpenAIEndpoint("e", EndpointSettings(model="m", base_url="http://example.invalid/v1"), direct=False)
        assert inside._proxy is None
        monkeypatch.setenv("no_proxy", "example.invalid:8000")
        ports = {
            port: OpenAIEndpoint("e", EndpointSettings(model="m", base_url=f"http://example.invalid:{port}/v1"), False)
            for port in (8000, 8001)
        }
        assert ports[8000]._proxy is None
        assert ports[8001]._proxy is not None


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
def test_a_server_of_ours_is_reached_past_every_proxy(
    tmp_path: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ChatServer(always(answer("by proxy"))) as proxy, ChatServer(always(answer("x"))) as server:
        monkeypatch.setenv(variable, proxy.url.removesuffix("/v1"))
        assert with_line(server.url, tmp_path / "c.sqlite", lambda line: line.ask(request("hello"))).text == "x"
        assert not proxy.received


async def one_call(model: OpenAIEndpoint) -> None:
    try:
        await model.complete(request("hello"))
    finally:
        await model.close()


@pytest.mark.parametrize("proxy", ["socks5://me:secret@127.0.0.1:1", "ftp://secret"])
def test_a_proxy_that_is_none_is_refused_without_its_password(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ChatError, match="is no HTTP proxy") as caught:
        OpenAIEndpoint("e", EndpointSettings(model="m", base_url="http://example.invalid/v1"), direct=False)
    assert "secret" not in str(caught.value)
