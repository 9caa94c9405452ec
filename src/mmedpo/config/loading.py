"""Reading a recipe with its overrides into settings, and writing settings out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mmedpo.config.curate import GroundSettings
from mmedpo.config.explain import explain
from mmedpo.config.groups import IdleSetting
from mmedpo.config.names import check_names, refuse_demonstration
from mmedpo.config.run import RunSettings
from mmedpo.errors import ConfigError, brief
from mmedpo.recipes import apply_override, inherited_settings, read_recipe
from mmedpo.recipes.reading import read_yaml


def load_settings(recipe: str | Path, overrides: list[str] | None = None) -> RunSettings:
    """Reads a recipe (shipped name or YAML file) and applies `a.b=c` overrides.

    What is said last counts: what a recipe was given by the one below it (the dataset's, below a method; the one it
    extends) and makes idle is left out, and so is what an override makes idle in the recipe. What a recipe or an
    override says itself and has no effect is refused.

    Raises:
        ConfigError: unknown recipe, setting or name of a piece, a bad value, or a setting without effect.
    """
    return validate_settings(_overridden(recipe, overrides or []), str(recipe))


def _overridden(recipe: str | Path, overrides: Sequence[str], **given: Any) -> dict[str, Any]:
    """A recipe with what is laid over it, without what that makes idle; `given`: further settings of `evaluate`."""
    below = _without_idle(read_recipe(recipe), inherited_settings(recipe))
    own = frozenset(_idle(below))
    raw = copy.deepcopy(below)
    if given:
        raw["evaluate"] = {**_group(raw, "evaluate", recipe), **given}
    for override in overrides:
        apply_override(raw, override)
    return _without_idle(raw, below, own)


def idle_endpoints(recipe: str | Path, overrides: Sequence[str]) -> tuple[str, ...]:
    """Names of the language models among `chat.endpoints` that no judge or agent of a recipe is.

    Raises:
        ConfigError: unknown recipe, or an override that is not of the form `group.setting=value`.
    """
    raw, found = _overridden(recipe, overrides), list[str]()
    while named := [path[2] for path in _idle(raw) if path[:-1] == ("chat", "endpoints")]:
        found.append(named[0])
        raw = _without(raw, ("chat", "endpoints", named[0]))
    return tuple(found)


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


def load_answers(recipe: str | Path, files: Sequence[str], overrides: Sequence[str]) -> RunSettings:
    """Settings of a comparison of files of answers.

    Args:
        recipe: shipped name or YAML file: whose questions they answer.
        files: `FILE` or `NAME=FILE` each; without a name the file's own names the column.
        overrides: as in `load_settings`.

    Raises:
        ConfigError: as `load_settings`, or two columns of one name.
    """
    columns: dict[str, dict[str, str]] = {}
    for file in files:
        name, given, path = file.partition("=")
        if not given:
            name, path = Path(file).stem, file
        if name in columns:
            raise ConfigError(f"--predictions names {name[:40]!r} twice; name the columns: NAME=FILE")
        columns[name] = {"path": path}
    return validate_settings(_overridden(recipe, overrides, answers=columns), str(recipe))


def _group(raw: dict[str, Any], name: str, recipe: str | Path) -> dict[str, Any]:
    group = raw.get(name, {})
    if not isinstance(group, dict):
        raise ConfigError(f"{brief(str(recipe))}: {name} is not a group of settings")
    return group


def _without_idle(
    raw: dict[str, Any], below: dict[str, Any], refused: frozenset[tuple[str, ...]] = frozenset()
) -> dict[str, Any]:
    """Settings without what has no effect and stands in `below` as it stands here, but for what is to be refused."""
    while True:
        idle = [path for path in _idle(raw) if path not in refused and _at(raw, path) is not None]
        given = [path for path in idle if _at(raw, path) == _at(below, path)]
        if not given:
            return raw
        raw = _without(raw, given[0])


def _idle(raw: dict[str, Any]) -> list[tuple[str, ...]]:
    """Paths of settings that are refused because they have no effect; further ones may show without these."""
    causes: list[Any] = []
    try:
        check_names(RunSettings.model_validate(raw))
    except ValidationError as error:
        causes = [item.get("ctx", {}).get("error") for item in error.errors(include_url=False)]
    except ConfigError as error:
        causes = [error.__cause__]
    return [cause.path for cause in causes if isinstance(cause, IdleSetting)]


def _at(raw: Any, path: Sequence[str]) -> Any:
    """The setting at a path; None where there is none."""
    for name in path:
        raw = raw.get(name) if isinstance(raw, dict) else None
    return raw


def _without(raw: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    name, *inner = path
    if not inner:
        return {key: value for key, value in raw.items() if key != name}
    return {**raw, name: _without(raw[name], inner)}


def validate_settings(raw: dict[str, Any], source: str) -> RunSettings:
    """Turns a plain mapping into settings whose names all exist, with one clear line on error."""
    settings = _validated(raw, source)
    try:
        checked = check_names(settings)
        refuse_demonstration(checked)
        return checked
    except ConfigError as error:
        raise ConfigError(f"{brief(source)}: {error}") from None


def stored_settings(resolved: Path) -> RunSettings:
    """The settings a run was made with, as its folder holds them.

    Its names are not looked up: a run can be looked at where a package that it was made with is not installed.

    Raises:
        ConfigError: not readable, or no settings of a run.
    """
    return _validated(read_recipe(resolved), str(resolved))


def _validated(raw: dict[str, Any], source: str) -> RunSettings:
    try:
        return RunSettings.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{brief(source)}: {explain(error, RunSettings)}") from None


def dump_settings(settings: RunSettings) -> str:
    """YAML of the whole resolved configuration, every default written out; `load_settings` reads it back.

    Raises:
        ConfigError: it would not read back the same; a run that cannot be opened again is not begun.
    """
    content, what = settings.model_dump(mode="json"), "the resolved recipe"
    # Readable first; a few characters (a line break of Unicode) read back only when they are spelled out.
    for readable in (True, False):
        text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=readable)
        if _validated(read_yaml(text, what), what) == settings:
            return text
    raise ConfigError(f"{what} does not read back as it was written; simplify its texts and names")
