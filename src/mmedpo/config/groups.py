"""What every group of settings is, and the refusal of a setting that would have no effect."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from mmedpo.errors import brief, shown
from mmedpo.registry import Kind


class Settings(BaseModel):
    """A frozen group of settings; unknown names are refused, and so is every number that is not finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1, and YAML takes yes and on for true."""
        held = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in held) and not _takes(
            cls.model_fields[info.field_name or ""].annotation, bool
        ):
            raise PydanticCustomError("no_truth", "true and false (yes, no, on, off) are no value here; quote a word")
        return value

    @field_validator("*")
    @classmethod
    def _each_name_once(cls, value: Any) -> Any:
        """A list of names says which; a second time says nothing, and shapes some result unforeseen."""
        if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
            twice = next((item for place, item in enumerate(value) if item in value[:place]), None)
            if twice is not None:
                raise PydanticCustomError("twice", "{name} stands twice; name it once", {"name": shown(twice)})
        return value


def _takes(annotation: Any, kind: type) -> bool:
    """Whether a value of the kind itself is among what an annotation allows."""
    return annotation in (kind, Any) or any(_takes(inner, kind) for inner in getattr(annotation, "__args__", ()))


class Named(NamedTuple):
    """Marks a setting whose value is the name of a registered piece: `Annotated[str, Named("protocol")]`."""

    kind: Kind
    """What is named."""
    also: tuple[str, ...] = ()
    """Further values, which name no piece, e.g. `none`."""
    speaks: bool = False
    """True: a piece that asks a language model is named with its endpoint, `NAME:ENDPOINT`."""


class IdleSetting(ValueError):
    """A setting that was given and would have no effect."""

    def __init__(self, path: tuple[str, ...], why: str = "", *, told: str = "") -> None:
        super().__init__(told or f"{'.'.join(brief(part, 40) for part in path)} has no effect because {why}")
        self.path = path
        """Names from the outermost group inwards."""


def refuse_set(group: Settings, idle: set[str], prefix: str, why: str, allow: set[str] | None = None) -> None:
    """Raises when one of the `idle` settings was given although `why` makes it meaningless."""
    for name in sorted(idle & group.model_fields_set):
        value = getattr(group, name)
        if value is None or value == default_of(group, name):
            continue
        if allow and isinstance(value, Settings) and _changed(value) <= allow:
            continue
        raise IdleSetting((*filter(None, prefix.split(".")), name), f"{why}; remove it")


def _changed(group: Settings) -> set[str]:
    """Names of the settings that differ from their defaults."""
    return {name for name in type(group).model_fields if getattr(group, name) != default_of(group, name)}


def default_of(group: Settings, name: str) -> Any:
    """What a setting is where nobody sets it."""
    return type(group).model_fields[name].get_default(call_default_factory=True, validated_data={})


DEVICE = r"^(auto|cpu|cuda(:[0-9]{1,3})?)$"
"""Names of devices."""

LARGEST_SEED = 2**32 - 1
"""numpy takes no larger one, and transformers seeds numpy with ours."""

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


ON_NO_DISK = "is an address in a network; mount it where every node has it (e.g. s3fs, mount-s3) and give the folder"


def remote(path: Path) -> bool:
    """Whether a path is an address, as `s3://bucket/folder`; what a path makes of it has one slash."""
    return re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:/", str(path)) is not None


def _at_home(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError(f"{shown(str(path))} is no path")
    if remote(path):
        raise ValueError(f"{shown(str(path))} {ON_NO_DISK}")
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(str(path))}: there is no such user; write the whole path") from None


UserPath = Annotated[Path, AfterValidator(_at_home)]
"""A path in which `~` is the user's home, also where no shell has replaced it."""

_BUCKET = re.compile(r"s3:/[A-Za-z0-9][A-Za-z0-9._-]{1,62}(/[^?#@]*)?")


def input_path(path: Path) -> Path:
    """A path that is only read: of a file system, of a bucket (`s3://BUCKET/FOLDER`), or `file://PATH`.

    Raises:
        ValueError: another address, or one that names no bucket or holds more than a bucket and a folder.
    """
    plain = str(path)
    if plain.startswith("file:/"):
        return _at_home(Path(unquote(plain.removeprefix("file:"))))
    if not plain.startswith("s3:"):
        return _at_home(path)
    # What does not fit may hold a key, and is not repeated.
    if not _BUCKET.fullmatch(plain) or ".." in path.parts or not plain.isprintable():
        raise ValueError("this is no address of a bucket; write s3://BUCKET/FOLDER, keys stand in AWS_ACCESS_KEY_ID")
    return path


InputPath = Annotated[Path, AfterValidator(input_path)]
"""See `input_path`."""
