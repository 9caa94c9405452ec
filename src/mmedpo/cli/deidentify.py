"""`mmedpo deidentify`: copies of DICOM files that hold allowed tags only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

SALT = "MMEDPO_SALT"
"""Environment variable with the secret that identifiers are hashed with."""


def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder of DICOM files.")],
    target: Annotated[Path, typer.Argument(help="Folder for the copies; it must not lie in the source.")],
) -> None:
    """Copy DICOM files with allowed tags only, under names that tell nothing.

    Identifiers become hashes with the secret in the environment variable MMEDPO_SALT: the same secret keeps the images
    of one patient together. Files that say text is burned into their pixels are refused; the pixels themselves are
    not looked at.

    Example: mmedpo deidentify dicom/ clean/
    """
    from mmedpo.errors import ConfigError, ImageError
    from mmedpo.imaging.deidentify import deidentify as copy_of
    from mmedpo.imaging.images import is_dicom
    from mmedpo.progress import LineReporter
    from mmedpo.storage.tables import write_bytes

    salt = os.environ.get(SALT, "")
    if len(salt) < 8:
        raise ConfigError(f"set the environment variable {SALT} to a secret of at least 8 characters and keep it")
    if not source.is_dir():
        raise ConfigError(f"{source} is not a folder; give the folder of the DICOM files")
    if target.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{target} lies in {source}; choose a folder elsewhere for the copies")
    files = sorted(path for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    reporter = LineReporter()
    advance = reporter.track("de-identifying")
    written, other, refused = 0, 0, []
    for number, path in enumerate(files):
        content = path.read_bytes()
        if not is_dicom(content):
            other += 1
        else:
            try:
                clean, name = copy_of(content, salt)
                write_bytes(target / name, clean)
                written += 1
            except ImageError as error:
                refused.append(f"{path.relative_to(source)} {error}")
        advance(number + 1, len(files))
    print(f"{written} files written to {target}, {len(refused)} refused, {other} are no DICOM files")
    for line in refused[:20]:
        print(f"refused: {line}")
    raise typer.Exit(1 if refused else 0)
