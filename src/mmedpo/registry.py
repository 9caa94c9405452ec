"""Names to things: datasets, grounders, judges, agents, language models, protocols, losses.

A piece registers itself where it is defined (`@register("grounder", "annotation")`); a package from
outside announces a module under the entry-point group `mmedpo.plugins` and needs no change here.
Built-in modules are listed by room and imported only when somebody asks for that kind, so that
`import mmedpo` stays light.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar

from mmedpo.errors import ConfigError

Kind = Literal[
    "dataset", "grounder", "judge", "agent", "chat-model", "protocol", "preference-format", "loss", "executor"
]

_ROOMS: dict[Kind, str] = {
    "dataset": "mmedpo.data.readers",
    "grounder": "mmedpo.grounding",
    "judge": "mmedpo.curate.judges",
    "agent": "mmedpo.score.agents",
    "chat-model": "mmedpo.chat.kinds",
    "protocol": "mmedpo.evaluate.protocols",
    "preference-format": "mmedpo.preferences.formats",
    "loss": "mmedpo.train.losses",
    "executor": "mmedpo.run.executors",
}
"""Where the built-in pieces of each kind live: every module of that package is imported on demand."""

_TABLE: dict[tuple[str, str], Any] = {}
_LOADED: set[str] = set()

T = TypeVar("T")


def register(kind: Kind, name: str) -> Callable[[T], T]:
    """Decorator: makes the decorated object available as `lookup(kind, name)`.

    Raises:
        ConfigError: the name is taken by another object of the same kind.
    """

    def wrap(thing: T) -> T:
        known = _TABLE.get((kind, name))
        if known is not None and _origin(known) != _origin(thing):
            raise ConfigError(f"{kind} {name!r} is registered twice: by {_origin(known)} and by {_origin(thing)}")
        _TABLE[kind, name] = thing
        return thing

    return wrap


def lookup(kind: Kind, name: str) -> Any:
    """The object registered as `name`.

    Raises:
        ConfigError: no such name; the message lists the allowed ones.
    """
    _load(kind)
    try:
        return _TABLE[kind, name]
    except KeyError:
        raise ConfigError(f"unknown {kind} {name!r}; known: {', '.join(names(kind)) or 'none'}") from None


def names(kind: Kind) -> list[str]:
    """Every registered name of one kind, sorted."""
    _load(kind)
    return sorted(name for k, name in _TABLE if k == kind)


def _load(kind: Kind) -> None:
    if kind not in _LOADED:
        room = importlib.import_module(_ROOMS[kind])
        for module in pkgutil.iter_modules(room.__path__, prefix=f"{room.__name__}."):
            importlib.import_module(module.name)
        _LOADED.add(kind)
    if "plugins" not in _LOADED:
        _LOADED.add("plugins")
        for entry in entry_points(group="mmedpo.plugins"):
            _load_plugin(entry)


def _load_plugin(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"plug-in {entry.name!r} ({entry.value}) cannot be loaded: {why}; mend or remove it"
        ) from error


def _origin(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', repr(thing))}"
