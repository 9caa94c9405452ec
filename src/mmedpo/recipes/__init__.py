"""Recipes as they are written: the YAML files of this folder or of the user, before any validation."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from mmedpo.errors import ConfigError


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    folder = resources.files("mmedpo.recipes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def recipe_description(recipe: str) -> str:
    """What a shipped recipe says of itself, also where it cannot run without further settings."""
    return str(read_recipe(recipe).get("description", ""))


def read_recipe(recipe: str | Path, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings a recipe gives, those of the recipes it extends included; nothing is validated.

    Raises:
        ConfigError: unknown recipe, unreadable file, not a mapping, or a recipe that extends itself.
    """
    path = Path(recipe)
    if path.suffix in {".yaml", ".yml"}:
        text = _read_file(path)
    elif str(recipe) in shipped_recipes():
        text = resources.files("mmedpo.recipes").joinpath(f"{recipe}.yaml").read_text()
    else:
        raise ConfigError(f"unknown recipe {str(recipe)!r}; shipped: {', '.join(shipped_recipes())}; or a .yaml file")
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"recipe {recipe} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"recipe {recipe} must be a mapping of settings, found {type(raw).__name__}")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        raise ConfigError(f"recipe {recipe}: extends={parent!r} must be the name of a shipped recipe or a .yaml file")
    if Path(parent).suffix in {".yaml", ".yml"}:
        parent = str(path.parent / Path(parent).expanduser())  # beside the recipe that names it
    if len(chain) > 4:
        raise ConfigError(f"recipe {recipe} extends itself: {' -> '.join((*chain, parent))}")
    return _merge(read_recipe(parent, (*chain, str(recipe))), raw)


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"recipe file {path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"recipe file {path} cannot be read: {why}") from None


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """The base with the changes of a recipe that extends it; a null takes a setting (back to its default) out."""
    merged = dict(base)
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merge(merged[name], value)
        else:
            merged[name] = value
    return merged


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Sets one `a.b=c` in the settings of a recipe; the value is YAML.

    Raises:
        ConfigError: not of that form, or `a` is no group of settings.
    """
    name, separator, value = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"--set {override!r} is not of the form group.setting=value")
    *groups, last = name.strip().split(".")
    target = raw
    for group in groups:
        if target.get(group) is None:
            target[group] = {}
        target = target[group]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {override!r}: {group!r} is a value, not a group of settings")
    try:
        target[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"--set {override!r}: the value is not valid YAML ({why}); quote it") from None
