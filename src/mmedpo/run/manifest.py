"""The manifest of a run folder: which versions made it, and which stages are done."""

from __future__ import annotations

import json
import time
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from mmedpo.errors import RunFolderError, shown
from mmedpo.run.layout import MANIFEST, RESOLVED

FORMAT = 3
"""Version of the run folder's layout; a folder of another version is refused."""


def _inside(name: str) -> str:
    """A name that stays in the run folder, and out of what the folder keeps for itself.

    Raises:
        ValueError: it does not.
    """
    parts = PurePosixPath(name).parts
    whole = "/".join(parts) == name and not any(part.startswith(".") for part in parts)
    if not parts or not whole or "\\" in name or "\0" in name or name in (MANIFEST, RESOLVED):
        raise ValueError("not the name of a file inside the run folder")
    return name


SafeName = Annotated[str, AfterValidator(_inside)]
"""Relative path with forward slashes that leaves neither the run folder nor the files of its stages."""


class StageState(BaseModel):
    """What the manifest keeps of a finished stage."""

    model_config = ConfigDict(extra="forbid")

    fingerprint: str
    """Hash of settings and inputs the outputs were made with."""
    outputs: dict[SafeName, str]
    """Relative path -> SHA-256 (a folder's is the hash of its files' names and hashes)."""
    stamps: dict[SafeName, str] = {}
    """Relative path -> hash of names, sizes and times: while it holds, the SHA-256 need not be computed again."""
    seconds: float = Field(ge=0, le=1e12)
    """Wall time over all attempts of this process."""


class Manifest(BaseModel):
    """`manifest.json`: what this folder is and which stages are done."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    created: str = ""
    """UTC time, ISO 8601."""
    versions: dict[str, str] = {}
    """Package versions the run was made with."""
    stages: dict[SafeName, StageState] = {}
    """Finished stages by name."""


def read_manifest(path: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        RunFolderError: another version, or a damaged file.
    """
    try:
        raw = json.loads((path / MANIFEST).read_text())
        version = raw.get("format")
        if version != FORMAT:
            raise RunFolderError(
                f"{path} has run-folder format {shown(version)}, this mmedpo reads {FORMAT}; "
                "choose another run name, or use the version of mmedpo that made it"
            )
        return Manifest.model_validate(raw)
    except (ValueError, RecursionError, AttributeError) as error:
        raise RunFolderError(f"{path / MANIFEST} is damaged ({type(error).__name__}); use a new run name") from None


def new_manifest() -> Manifest:
    """The manifest of a run that starts now."""
    return Manifest(created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), versions=versions())


def versions() -> dict[str, str]:
    """The packages that shape a result, as they are installed here."""
    from importlib.metadata import version

    return {name: version(name) for name in ("mmedpo", "torch", "transformers", "peft", "numpy")}
