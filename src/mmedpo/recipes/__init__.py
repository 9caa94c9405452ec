"""Recipes as they are written: the YAML files of this folder or of the user, before any validation."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from mmedpo.errors import ConfigError, brief, shown
from mmedpo.recipes.reading import MOST_BYTES, read_yaml


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
    path, name = Path(recipe), f"recipe {brief(str(recipe))}"
    if path.suffix in {".yaml", ".yml"}:
        text = _read_file(path)
    elif str(recipe) in shipped_recipes():
        text = resources.files("mmedpo.recipes").joinpath(f"{recipe}.yaml").read_text()
    else:
        known = ", ".join(shipped_recipes())
        raise ConfigError(f"unknown recipe {shown(str(recipe))}; shipped: {known}; or a .yaml file")
    raw = read_yaml(text, name)
    if not isinstance(raw, dict):
        raise ConfigError(f"{name} must be a mapping of settings, found {type(raw).__name__}")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw
    if not isinstance(parent, str):
        given = shown(parent)
        raise ConfigError(f"{name}: extends={given} must be the name of a shipped recipe or a .yaml file")
    if Path(parent).suffix in {".yaml", ".yml"}:
        parent = str(path.parent / _expanded(parent))  # beside the recipe that names it
    if len(chain) > 4:
        raise ConfigError(f"{name} extends itself: {brief(' -> '.join((*chain, parent)))}")
    return _merge(read_recipe(parent, (*chain, str(recipe))), raw)


def _read_file(path: Path) -> str:
    where = brief(str(path))
    try:
        if path.exists() and not path.is_file():
            # A folder, or a pipe or device, whose reading might never end.
            raise ConfigError(f"recipe file {where} cannot be read: it is not a file")
        with path.open("rb") as file:
            return file.read(4 * MOST_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(f"recipe file {where} does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError(f"recipe file {where} cannot be read: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it is no path"
        raise ConfigError(f"recipe file {where} cannot be read: {why}") from None


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{shown(path)}: there is no such user; write the whole path") from None


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
    told = shown(override)
    name, separator, value = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"--set {told} is not of the form group.setting=value")
    *groups, last = name.strip().split(".")
    target = raw
    for group in groups:
        if target.get(group) is None:
            target[group] = {}
        target = target[group]
        if not isinstance(target, dict):
            raise ConfigError(f"--set {told}: {shown(group)} is a value, not a group of settings")
    target[last] = read_yaml(value, f"--set {told}: the value, which may want quotes,")
