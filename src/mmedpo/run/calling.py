"""What one process was told, on its command line, of the language models that a run asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CallOptions:
    """What this process may do with calls of language models: said on the command line, never in a recipe."""

    allow_external: str = ""
    """Name of the dataset whose restricted data may leave, as the user typed it."""
    estimate_only: bool = False
    """Tell what a stage would ask for, and stop before anything is sent."""
    batch_out: Path | None = None
    """Folder to write requests into instead of sending them."""
    batch_in: Path | None = None
    """File or folder of results that answer such requests."""
