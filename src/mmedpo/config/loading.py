"""Reading a recipe with its overrides into settings, and writing settings out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mmedpo.config.curate import GroundSettings
from mmedpo.config.run import RunSettings
from mmedpo.errors import ConfigError
from mmedpo.recipes import apply_override, read_recipe


def load_settings(recipe: str | Path, overrides: list[str] | None = None) -> RunSettings:
    """Reads a recipe (shipped name or YAML file) and applies `a.b=c` overrides.

    Raises:
        ConfigError: unknown recipe or setting, a bad value, or a setting without effect.
    """
    raw = read_recipe(recipe)
    for override in overrides or []:
        apply_override(raw, override)
    return validate_settings(raw, str(recipe))


def load_ground(tools: Sequence[str], overrides: Sequence[str]) -> GroundSettings:
    """Settings of visual tools outside a run: their options, and what is assumed of the images.

    Raises:
        ConfigError: as `load_settings`, or an override of anything else.
    """
    raw: dict[str, Any] = {"ground": {"tool": list(tools)}}
    for override in overrides:
        if not override.startswith(("ground.options.", "ground.assume.")):
            raise ConfigError(f"--set {override[:80]!r} has no effect here; allowed: ground.options.*, ground.assume.*")
        apply_override(raw, override)
    return validate_settings(raw, "ground evaluate").ground


def validate_settings(raw: dict[str, Any], source: str) -> RunSettings:
    """Turns a plain mapping into settings, with one clear line on error."""
    try:
        return RunSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_explain(error)}") from None


def dump_settings(settings: RunSettings) -> str:
    """YAML of the whole resolved configuration, every default written out; `load_settings` reads it back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def _explain(error: ValidationError) -> str:
    every = error.errors()
    # A misspelt name explains why another one is missing, not the other way round.
    first = next((item for item in every if item["type"] == "extra_forbidden"), every[0])
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _known_settings(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"unknown setting {where!r}; {hint}known here: {', '.join(known)}{more}"
    if first["type"] == "missing":
        return f"{where} is needed; set it in the recipe or with --set {where}=...{more}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{message}{more}" if first["type"] == "value_error" else f"{where}={first['input']!r}: {message}{more}"


def _known_settings(location: tuple[int | str, ...]) -> list[str]:
    group: type[BaseModel] = RunSettings
    for part in location:
        if str(part) not in group.model_fields:
            continue  # a name of the user's own, or a place in a list
        annotation = group.model_fields[str(part)].annotation
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if inner is None:
            break
        group = inner
    return sorted(group.model_fields)
