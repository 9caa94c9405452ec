"""Settings of the language models that judge and debate: where they are reached, what they cost, what may leave."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from mmedpo.config.address import check_address, is_host_name, is_ip_address
from mmedpo.config.groups import DEVICE, IdleSetting, Settings, UserPath, refuse_set
from mmedpo.errors import shown

Structured = Literal["json_schema", "json_object", "none"]

OWN_FIELDS = frozenset({"model", "messages", "temperature", "top_p", "max_tokens", "response_format", "n", "stream"})
"""Fields of a request body that have settings of their own, or that would change what an answer is."""

Extra = str | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | float
"""A value of a request's field, as JSON has them."""


class EndpointSettings(Settings):
    """One language model: an OpenAI-compatible endpoint, a checkpoint in this process, or recorded answers."""

    kind: str = "openai"
    """Registered name. `openai`: any server of that API. `transformers`: a local checkpoint in this process. `replay`:
    recorded answers of the endpoint that the other settings describe; nothing is sent. Which of the settings below a
    kind uses it says itself; the others are refused when the run starts (`mmedpo.chat.model.check_kind`)."""
    model: str
    """Name the server knows it by; the checkpoint's folder for `transformers`."""
    base_url: str = ""
    """Where the server listens, e.g. `http://127.0.0.1:8000/v1`."""
    base_urls: tuple[str, ...] = ()
    """Further servers of the same model: they share the calls with the one at `base_url`."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; empty: the server asks for none. Never the key itself."""
    recording: UserPath | None = None
    """File (or folder) of recorded answers, for `replay`."""
    structured: Structured = "none"
    """What the endpoint enforces of a reply's form; some servers accept the parameter and ignore it: `none` is safe.
    A checkpoint in this process is held to it by llguidance (extra `[local]`)."""
    device: str = Field("auto", pattern=DEVICE)
    """Where a checkpoint in this process computes: `auto` (a GPU where there is one), `cpu`, `cuda` or `cuda:N`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of its weights; `auto`: the one they are stored in."""
    images: bool = False
    """Show the judge the image. Agents of the debate never see one (METHOD section 2)."""
    image_side: int = Field(1024, ge=64, le=16_384)
    """Longest side of an image as it is sent, pixels."""
    image_tokens: int = Field(765, ge=1, le=1_000_000)
    """Tokens one image is taken for in an estimate (GPT-4o at 1024 x 1024: 85 + 4 x 170)."""
    temperature: float = Field(0.0, ge=0, le=100)
    """0: the most likely answer, so that a cached answer is the answer."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus of the sampling."""
    max_tokens: int = Field(512, ge=16, le=131_072)
    """Length limit of a reply."""
    extra: dict[str, Extra] = Field(default_factory=dict)
    """Further fields of the request body that a server understands, e.g. `seed: 1`."""
    concurrency: int = Field(16, ge=1, le=4096)
    """Most requests in flight at the same time; of a checkpoint in this process, replies written together."""
    requests_per_minute: float | None = Field(None, ge=0.01, le=1e9)
    """Rate limit; None: as fast as concurrency allows."""
    tokens_per_minute: float | None = Field(None, ge=1, le=1e12)
    """Rate limit over estimated input and longest output tokens; None: none."""
    timeout: float = Field(120.0, ge=0.001, le=86_400)
    """Seconds until one attempt is given up."""
    attempts: int = Field(8, ge=1, le=1000)
    """Tries of one call before it counts as failed."""
    longest_wait: float = Field(60.0, ge=0.001, le=86_400)
    """Seconds; cap of the pause between two tries, also where the server asks for a longer one."""
    usd_per_million_input: float | None = Field(None, ge=0, le=1e9)
    """Price of a million input tokens, US dollars; None: not paid for by token."""
    usd_per_million_output: float | None = Field(None, ge=0, le=1e9)
    """Price of a million output tokens, US dollars."""

    @property
    def host(self) -> str:
        """Host of `base_url`, in lower case; empty where there is none."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def alone(self) -> tuple[EndpointSettings, ...]:
        """The same for each of its servers by itself, in the order given; itself where it has one."""
        if not self.base_urls:
            return (self,)
        every = (self.base_url, *self.base_urls)
        return tuple(self.model_copy(update={"base_url": url, "base_urls": ()}) for url in every)

    @property
    def priced(self) -> bool:
        """Whether calls are paid for by token."""
        return self.usd_per_million_input is not None

    def usd(self, input_tokens: int, output_tokens: int) -> float:
        """Price of that many tokens, US dollars; 0 where calls are not paid for by token."""
        paid = input_tokens * (self.usd_per_million_input or 0.0) + output_tokens * (self.usd_per_million_output or 0.0)
        return paid / 1e6

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for url in filter(None, (self.base_url, *self.base_urls)):
            check_address(url)
        if self.base_urls and (not all(self.base_urls) or self.base_url in ("", *self.base_urls)):
            raise ValueError("base_urls are further servers beside base_url; give base_url, and each address once")
        if self.api_key_env and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", self.api_key_env):
            raise ValueError(
                "api_key_env is not the name of an environment variable (capitals, digits, underscores), "
                "e.g. OPENAI_API_KEY; the key itself is never written into a recipe"
            )
        if taken := sorted(OWN_FIELDS & set(self.extra)):
            raise ValueError(
                f"extra holds {taken[0]!r}, which is not for there: it has a setting, or one answer is read"
            )
        if not self.images:
            refuse_set(self, {"image_side", "image_tokens"}, "", "images is false")
        if (self.usd_per_million_input is None) != (self.usd_per_million_output is None):
            raise ValueError("give both prices, usd_per_million_input and usd_per_million_output, or none")
        return self


class ChatSettings(Settings):
    """The language models of a run, and the limits around them."""

    endpoints: dict[str, EndpointSettings] = Field(default_factory=dict)
    """By a short name of one's own; `score.agents: [chat:NAME]` and `curate.judge: chat:NAME` use it."""
    trusted_hosts: tuple[str, ...] = ()
    """Hosts inside the building: restricted data may go there, besides loopback."""
    max_calls: int | None = Field(None, ge=1, le=10**12)
    """Most calls this run may send, over all stages and attempts to resume; None: no limit."""
    max_usd: float | None = Field(None, gt=0, le=1e12)
    """Most money this run may spend, US dollars; a call that could go over it is not sent."""
    cache: UserPath | None = None
    """SQLite file of all answers, to share among runs; None: `calls.sqlite` in the run folder."""
    retries: int = Field(2, ge=0, le=100)
    """Times a reply that breaks the rules (leaks the prompt, agrees with the truth, ...) is asked for again."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in self.endpoints:
            if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", name):
                raise ValueError(
                    f"endpoint name {shown(name)} must be lower-case letters, digits, dot, dash, underscore, up to 60"
                )
        if not self.endpoints:
            idle = {"trusted_hosts", "max_calls", "max_usd", "cache", "retries"}
            refuse_set(self, idle, "chat", "chat.endpoints is empty")
        for host in self.trusted_hosts:
            if host != host.lower() or not (is_host_name(host) or is_ip_address(host)):
                raise ValueError(f"trusted host {shown(host)} must be one bare host name or address, in lower case")
        if self.max_usd is not None and self.endpoints and not any(e.priced for e in self.endpoints.values()):
            raise IdleSetting(("chat", "max_usd"), "no endpoint has prices; give usd_per_million_*")
        return self


def endpoint_of(name: str) -> str:
    """The endpoint a judge or an agent speaks through: `gpt` of `chat:gpt`; empty for one without."""
    return name.partition(":")[2]
