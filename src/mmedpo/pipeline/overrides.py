"""What is set for every run of a table (`a.b=c`), before any recipe is known. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

from mmedpo.config import endpoint_of
from mmedpo.errors import ConfigError, shown
from mmedpo.recipes import apply_override

OF_THE_TABLE: Mapping[tuple[str, ...], str] = {("seed",): "seeds", ("train", "learning_rate"): "learning_rates"}
"""Settings that every run of a table is given, and what of the table gives them."""
_ENDPOINTS = ["chat", "endpoints"]


def laid(overrides: Sequence[str]) -> dict[str, Any]:
    """Overrides as groups of settings.

    Raises:
        ConfigError: one is not of the form `group.setting=value`.
    """
    raw: dict[str, Any] = {}
    for override in overrides:
        apply_override(raw, override)
    return raw


def refuse_own(overrides: Sequence[str], where: str) -> None:
    """Refuses what the table itself sets in every run: it would be laid over, and change nothing.

    Args:
        overrides: of some or all arms.
        where: names them in the message.

    Raises:
        ConfigError: such a one, or one that is not of the form `group.setting=value`.
    """
    try:
        raw = laid(overrides)
    except ConfigError as error:
        raise ConfigError(str(error) if where == "--set" else f"{where}: {error}") from None
    for path, name in OF_THE_TABLE.items():
        if _at(raw, path) is not None:
            raise ConfigError(
                f"{where}: {'.'.join(path)}={shown(_at(raw, path))} has no effect, every run is given one of the "
                f"table's {name}; copy the table's YAML, change its {name}, and give the file in place of the name"
            )


def given_endpoints(overrides: Sequence[str]) -> frozenset[str]:
    """Names of the language models that overrides describe."""
    found = _at(laid(overrides), _ENDPOINTS)
    return frozenset(found) if isinstance(found, dict) else frozenset()


def named_endpoints(recipe: Mapping[str, Any]) -> frozenset[str]:
    """Names of the language models that a recipe asks and does not describe itself."""
    said = (
        _at(recipe, ["curate", "judge"]),
        _at(recipe, ["score", "agents"]),
        _at(recipe, ["evaluate", "judges"]),
    )
    every = [name for one in said for name in ([one] if isinstance(one, str) else one or ()) if isinstance(name, str)]
    return frozenset(filter(None, map(endpoint_of, every))) - frozenset(_at(recipe, _ENDPOINTS) or ())


def without_endpoints(overrides: Sequence[str], idle: Set[str]) -> tuple[str, ...]:
    """The overrides without what they say of some language models."""
    kept = []
    for override in overrides:
        path, _, _ = override.partition("=")
        names = path.strip().split(".")
        if names[:2] == _ENDPOINTS and len(names) > 2:
            kept += [] if names[2] in idle else [override]
        elif names in (_ENDPOINTS, _ENDPOINTS[:1]):
            raw = laid([override])
            models = _at(raw, _ENDPOINTS)
            if isinstance(models, dict):
                raw["chat"]["endpoints"] = {name: model for name, model in models.items() if name not in idle}
            kept.append(f"{path.strip()}={json.dumps(_at(raw, names))}")
        else:
            kept.append(override)
    return tuple(kept)


def _at(raw: Any, path: Sequence[str]) -> Any:
    for name in path:
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw
