"""Recipes as they are written: the YAML files of this folder or of the user, before any validation.

A method is written once (`methods/NAME.yaml`) and laid over the recipe of a dataset: `phantom-irpo` is `methods/irpo`
over `phantom-mmedpo`, `vqa-rad-irpo` the same over `vqa-rad`; several may follow each other, `phantom-irpo-after-sft`.
"""

from __future__ import annotations

import copy
import difflib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mmedpo.errors import ConfigError, brief, shown
from mmedpo.recipes.reading import MOST_BYTES, read_yaml

LISTED = "phantom"
"""The dataset with which every method is listed; it needs no files of the user."""
LONGEST_NAME = 60
"""Characters of a name that is compared with known ones."""
ITSELF = "mmedpo"
"""The method that recipes of datasets describe."""


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package: its files, and every method on generated radiographs."""
    return sorted({*_files(), *(f"{LISTED}-{method}" for method in methods())})


def methods() -> list[str]:
    """Names of the methods that can be laid over the recipe of any dataset."""
    return list(_files("methods"))


@cache
def _files(*folder: str) -> tuple[str, ...]:
    place = resources.files("mmedpo.recipes").joinpath(*folder)
    return tuple(sorted(item.name.removesuffix(".yaml") for item in place.iterdir() if item.name.endswith(".yaml")))


@cache
def _parsed(what: str, *place: str) -> Any:
    return read_yaml(resources.files("mmedpo.recipes").joinpath(*place).read_text(), what)


def _shipped(what: str, *place: str) -> Any:
    """What a file of the package says. It is read once: a method is laid over many recipes, each of them often."""
    return copy.deepcopy(_parsed(what, *place))


def composed_of(recipe: str) -> tuple[str, tuple[str, ...]] | None:
    """The dataset's recipe and the methods laid over it, in order; None for a name that is not made so."""
    files = _files()
    for base in sorted(files, key=len, reverse=True):
        for head in (base, base.removesuffix(f"-{ITSELF}")):
            layers = _layers(recipe.removeprefix(f"{head}-"), methods()) if recipe.startswith(f"{head}-") else None
            if layers:
                return base, layers
    return None


def _layers(rest: str, known: list[str]) -> tuple[str, ...] | None:
    """Names of methods that make up the rest of a name, the longest first."""
    if rest in known:
        return (rest,)
    for method in sorted(known, key=len, reverse=True):
        if rest.startswith(f"{method}-") and (further := _layers(rest.removeprefix(f"{method}-"), known)):
            return (method, *further)
    return None


def recipe_description(recipe: str) -> str:
    """What a shipped recipe says of itself, also where it cannot run without further settings."""
    return str(read_recipe(recipe).get("description", ""))


def read_recipe(recipe: str | Path, chain: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings a recipe gives, those of the recipes it extends included; nothing is validated.

    Raises:
        ConfigError: unknown recipe, unreadable file, not a mapping, or a recipe that extends itself.
    """
    composed = _composed_of(recipe)
    if composed is not None:
        return _composed(*composed)
    raw, parent = _written(recipe)
    if parent is None:
        return raw
    if len(chain) > 4:
        raise ConfigError(f"{_told(recipe)} extends itself: {brief(' -> '.join((*chain, parent)))}")
    return _merge(read_recipe(parent, (*chain, str(recipe))), raw)


def inherited_settings(recipe: str | Path) -> dict[str, Any]:
    """Of a recipe's settings, those it was given by the one below: the dataset's, or the one it extends.

    Raises:
        ConfigError: as `read_recipe`.
    """
    composed = _composed_of(recipe)
    below = _written(recipe)[1] if composed is None else composed[0]
    return {} if below is None else read_recipe(below)


def _composed_of(recipe: str | Path) -> tuple[str, tuple[str, ...]] | None:
    known = Path(recipe).suffix in {".yaml", ".yml"} or str(recipe) in _files()
    return None if known else composed_of(str(recipe))


def _told(recipe: str | Path) -> str:
    return f"recipe {brief(str(recipe))}"


def _written(recipe: str | Path) -> tuple[dict[str, Any], str | None]:
    """What a recipe itself says, and the recipe that it extends."""
    path, name = Path(recipe), _told(recipe)
    if path.suffix in {".yaml", ".yml"}:
        raw = read_yaml(_read_file(path), name)
    elif str(recipe) in _files():
        raw = _shipped(name, f"{recipe}.yaml")
    else:
        close = difflib.get_close_matches(str(recipe)[:LONGEST_NAME], shipped_recipes(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"unknown recipe {shown(str(recipe))}; {hint}shipped: {', '.join(_files())}, and every method over them, "
            "as in phantom-irpo (`mmedpo recipes` lists all); or a .yaml file"
        )
    if not isinstance(raw, dict):
        raise ConfigError(f"{name} must be a mapping of settings, found {type(raw).__name__}")
    parent = raw.pop("extends", None)
    if parent is None:
        return raw, None
    if not isinstance(parent, str):
        given = shown(parent)
        raise ConfigError(f"{name}: extends={given} must be the name of a shipped recipe or a .yaml file")
    if Path(parent).suffix in {".yaml", ".yml"}:
        parent = str(path.parent / _expanded(parent))  # beside the recipe that names it
    return raw, parent


def _composed(base: str, layers: tuple[str, ...]) -> dict[str, Any]:
    """The dataset's recipe under each method in turn. What the reader must know of each of them is kept."""
    raw = read_recipe(base)
    told = []
    for layer in layers:
        change = _shipped(f"method {layer}", "methods", f"{layer}.yaml")
        told.append(str(change.pop("description")).rstrip("."))
        caveats = dict.fromkeys([*raw.get("caveats", ()), *change.get("caveats", ())])
        raw = _merge(raw, {**change, "caveats": list(caveats)})
    data = base.removesuffix(f"-{ITSELF}")
    return {**raw, "description": f"{'; '.join(told)} ({data})."}


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
        elif isinstance(value, dict):
            below = merged.get(name)
            merged[name] = _merge(below if isinstance(below, dict) else {}, value)
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
