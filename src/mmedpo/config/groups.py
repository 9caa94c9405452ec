"""What every group of settings is, and the refusal of a setting that would have no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict

from mmedpo.registry import Kind


class Settings(BaseModel):
    """A frozen group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Named(NamedTuple):
    """Marks a setting whose value is the name of a registered piece: `Annotated[str, Named("protocol")]`."""

    kind: Kind
    """What is named."""
    also: tuple[str, ...] = ()
    """Further values, which name no piece, e.g. `none`."""
    speaks: bool = False
    """True: a piece that asks a language model is named with its endpoint, `NAME:ENDPOINT`."""


def refuse_set(group: Settings, idle: set[str], prefix: str, why: str, allow: set[str] | None = None) -> None:
    """Raises when one of the `idle` settings was given although `why` makes it meaningless."""
    for name in sorted(idle & group.model_fields_set):
        value = getattr(group, name)
        if value is None or value == type(group).model_fields[name].get_default():
            continue
        if allow and isinstance(value, Settings) and _changed(value) <= allow:
            continue
        raise ValueError(f"{prefix + '.' if prefix else ''}{name} has no effect because {why}; remove it")


def _changed(group: Settings) -> set[str]:
    """Names of the settings that differ from their defaults."""
    return {name for name, field in type(group).model_fields.items() if getattr(group, name) != field.get_default()}


UserPath = Annotated[Path, AfterValidator(Path.expanduser)]
"""A path in which `~` is the user's home, also where no shell has replaced it."""
