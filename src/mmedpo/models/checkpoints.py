"""Checkpoint folders: where they lie, and their identity in a run. No torch: the plan of a run asks for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from mmedpo.config import ModelSettings
from mmedpo.errors import ModelError, shown

TINY = "tiny"
"""Name under which the checkpoint that ships in the package is known."""
_WIDTHS = ("hidden_size", "intermediate_size", "embed_dim")
"""What the widths of layers are called, in the configuration and in those of its parts."""


def checkpoint_path(name: str) -> Path:
    """Folder of a checkpoint: the shipped one for `tiny`, else the local folder that `name` is.

    Raises:
        ModelError: no such folder, or it holds no safetensors.
    """
    try:
        path = Path(__file__).parent / "tiny" / "checkpoint" if name == TINY else Path(name).expanduser()
        there = (path / "config.json").is_file()
    except (RuntimeError, OSError):  # no such user, a name too long
        there = False
    if not there:
        raise ModelError(
            f"no checkpoint at {shown(name)}: expected {TINY!r} or a local folder with config.json and *.safetensors"
        )
    if not list(path.glob("*.safetensors")):
        raise ModelError(f"checkpoint {path} holds no *.safetensors; convert it (`mmedpo doctor` tells how)")
    return path


def checkpoint_hash(name: str) -> str:
    """SHA-256 over the checkpoint's files: the identity of a model in a run."""
    digest = hashlib.sha256()
    path = checkpoint_path(name)
    for file in sorted(path.iterdir()):
        if file.suffix in {".json", ".safetensors", ".jinja"}:
            digest.update(file.name.encode())
            with file.open("rb") as handle:
                for block in iter(lambda: handle.read(1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()


def widest_layer(name: str) -> int | None:
    """The largest width that a checkpoint's configuration tells of; None where it tells none or cannot be read.

    An adapter of a higher rank could hold nothing that one of this rank does not.
    """
    try:
        config = json.loads((checkpoint_path(name) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    parts = [config, *config.values()] if isinstance(config, dict) else []
    told = (part.get(key) for part in parts if isinstance(part, dict) for key in _WIDTHS)
    return max((width for width in told if isinstance(width, int)), default=None)


def model_identity(settings: ModelSettings) -> dict[str, Any]:
    """What decides what a model computes, for fingerprints: its files and the arithmetic they are used in."""
    arithmetic = settings.model_dump(include={"dtype", "quantise", "autocast"})
    return {"model": checkpoint_hash(settings.name), **arithmetic}
