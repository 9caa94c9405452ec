"""Reading what the `ground` stage made, and opening the configured tool: shared by the stages and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ValidationError

from mmedpo.config import AssumeSettings, GroundSettings
from mmedpo.errors import ConfigError
from mmedpo.grounding.grounder import About, Grounder
from mmedpo.imaging.images import read_image
from mmedpo.records import Example, Grounding
from mmedpo.registry import lookup
from mmedpo.run import Run
from mmedpo.storage.files import hash_path


def open_tools(settings: GroundSettings) -> list[Grounder]:
    """The configured visual tools, in order of preference, each with its own settings.

    Raises:
        ConfigError: an unknown tool, or a setting that it does not know or cannot take.
        GroundingError: a tool whose weights or files are missing or unusable.
    """
    told = tool_settings(settings)
    return [_open(name, told[name]) for name in settings.tools]


def tool_settings(settings: GroundSettings) -> dict[str, BaseModel | None]:
    """Each tool's settings, checked; None for a tool that has none.

    Raises:
        ConfigError: an unknown tool, or a setting that it does not know or cannot take.
    """
    checked: dict[str, BaseModel | None] = {}
    for name in settings.tools:
        kind, raw = lookup("grounder", name), settings.options.get(name, {})
        model: type[BaseModel] | None = getattr(kind, "Settings", None)
        if model is None and raw:
            raise ConfigError(f"ground.options.{name} has no effect because {name} has no settings; remove it")
        try:
            checked[name] = None if model is None else model.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(_explain(name, error, sorted(model.model_fields) if model else [])) from None
    return checked


def fingerprint(settings: GroundSettings) -> dict[str, Any]:
    """What decides the maps: the settings, and the content of every file or folder they name.

    Raises:
        ConfigError: as `tool_settings`, or a named file that does not exist.
    """
    files: dict[str, str] = {}
    for name, own in tool_settings(settings).items():
        for field, value in (own or BaseModel()).__dict__.items():
            path = Path(value) if isinstance(value, Path) or str(value).endswith(".json") else None
            if path is None:
                continue
            if not path.exists():
                raise ConfigError(f"ground.options.{name}.{field}: {path} does not exist; correct the path")
            files[f"{name}.{field}"] = hash_path(path)
    return {"ground": settings.model_dump(mode="json", exclude={"minimum_confidence"}), "files": files}


def about(example: Example, assume: AssumeSettings) -> About:
    """What the data say of an example's image, and what is assumed where they say nothing."""
    tags = dict(reversed([tag.partition(":")[::2] for tag in example.tags if ":" in tag]))
    told = {name: (tags.get(name) or getattr(assume, name)).casefold() for name in ("modality", "organ", "view")}
    return About(path=example.image.path, annotated=example.annotated, **told)


def read_mask(image_root: Path, example: Example) -> np.ndarray | None:
    """The annotated lesion mask of an example's image, bool [H, W]; None when there is no mask file."""
    if example.mask_path is None:
        return None
    mask = read_image(image_root, example.mask_path)
    return np.asarray((mask if mask.ndim == 2 else mask.max(axis=2)) > 0)


def heatmap_of(run: Run, grounding: Grounding) -> np.ndarray:
    """Reads a stored heatmap, float32 [H, W]."""
    assert grounding.heatmap_path is not None
    return np.asarray(np.load(run.file(grounding.heatmap_path), allow_pickle=False))


def by_image(groundings: Sequence[Grounding]) -> dict[str, Grounding]:
    """Groundings keyed by the image they speak of."""
    return {grounding.image_sha256: grounding for grounding in groundings}


def _open(name: str, own: BaseModel | None) -> Grounder:
    kind = lookup("grounder", name)
    tool: Grounder = kind() if own is None else kind.from_settings(own)
    return tool


def _explain(name: str, error: ValidationError, known: list[str]) -> str:
    first = error.errors()[0]
    where = ".".join([f"ground.options.{name}", *(str(part)[:40] for part in first["loc"])])
    if first["type"] == "extra_forbidden":
        return f"unknown setting {where!r}; known here: {', '.join(known) or 'none'}"
    if first["type"] == "missing":
        return f"{where} is needed; set it in the recipe or with --set {where}=..."
    return f"{where}={str(first['input'])[:60]!r}: {first['msg'].removeprefix('Value error, ')}"
