"""What a kind of language model says of itself, and the settings that fit it.

A kind is a class under `@register("chat-model", NAME)`, made as `kind(name, settings, direct)` with the
endpoint's name, its settings, and whether it lies in the building (proxies of the environment are then not
used); what it makes is a `ChatModel`. It declares, as attributes of the class:

- `uses`: the settings it reads besides `COMMON`; another that is set would have no effect and is refused.
- `needs`: the settings that must be given.
- `sends`: whether it sends texts to `base_url`. One that does not say so is taken to send.
- `batches`: whether its calls can be written to batch files instead.
- `ready(name, settings)`: raises `ChatError` where a call could not be sent, e.g. for want of a key.
- `checkpoint(settings)`: the hash of what it loads, where `model` is a folder.

What it makes may have a method `listen(message)`, called first with what shows the user a line, and an attribute
`doing`, which says in a few words what it is about while calls wait.

All but `uses` may be left out.
"""

from __future__ import annotations

from typing import Any

from mmedpo.config import EndpointSettings
from mmedpo.config.groups import default_of
from mmedpo.errors import ConfigError, shown
from mmedpo.registry import lookup

COMMON = frozenset({"kind", "model", "temperature", "top_p", "max_tokens"})
"""Settings that every kind uses: the model, and how it samples."""

EVERY = frozenset(EndpointSettings.model_fields) - COMMON


def kind_of(settings: EndpointSettings) -> Any:
    """The class of an endpoint's kind.

    Raises:
        ConfigError: there is none of that name; the message lists those there are.
    """
    return lookup("chat-model", settings.kind)


def sends(settings: EndpointSettings) -> bool:
    """Whether texts leave this process."""
    return bool(getattr(kind_of(settings), "sends", True))


def check_kind(name: str, settings: EndpointSettings) -> None:
    """Refuses, before anything is computed, settings that do not fit the kind of an endpoint.

    Raises:
        ConfigError: unknown kind, a setting it needs, or one it does not use.
    """
    kind = kind_of(settings)
    used = COMMON | getattr(kind, "uses", EVERY)
    for field in sorted(getattr(kind, "needs", frozenset())):
        if getattr(settings, field) == default_of(settings, field):
            raise ConfigError(f"chat.endpoints.{name}.{field} is needed because kind is {shown(settings.kind)}")
    for field in sorted(EVERY - used):
        if getattr(settings, field) != default_of(settings, field):
            raise ConfigError(
                f"chat.endpoints.{name}.{field} has no effect because kind is {shown(settings.kind)}; remove it"
            )
