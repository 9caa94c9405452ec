"""A file or folder that a command only reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def readable(text: str) -> Path:
    """The path that a command line names, also as `s3://BUCKET/FOLDER` and `file://PATH`.

    Raises:
        ConfigError: another address, or one that names no bucket.
    """
    # Here, for a command line is parsed before anything is loaded.
    from mmedpo.config.groups import input_path
    from mmedpo.errors import ConfigError
    from mmedpo.storage.remote import located

    try:
        return located(input_path(Path(text)))
    except ValueError as problem:
        raise ConfigError(str(problem)) from None


READ: dict[str, Any] = {"parser": readable, "metavar": "PATH"}
"""What makes an option of a command such a path."""
