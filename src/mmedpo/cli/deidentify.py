"""`mmedpo deidentify`: copies of DICOM files that hold allowed tags only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mmedpo.imaging.copying import Copied

SALT = "MMEDPO_SALT"
"""Environment variable with the secret that identifiers are hashed with."""
_SHOWN = 20


def deidentify(
    source: Annotated[Path, typer.Argument(help="Folder of DICOM files.")],
    target: Annotated[Path, typer.Argument(help="Folder for the copies; it must not lie in the source.")],
) -> None:
    """Copy DICOM files with allowed tags only, under names that tell nothing.

    Identifiers become hashes with the secret in the environment variable MMEDPO_SALT: the same secret keeps the images
    of one patient together. Files that say text is burned into their pixels are refused, as are those whose pixels are
    cut off; the pixels themselves are not looked at.

    Example: mmedpo deidentify dicom/ clean/
    """
    from mmedpo.errors import ConfigError
    from mmedpo.imaging.copying import copy_deidentified
    from mmedpo.progress import LineReporter

    salt = os.environ.get(SALT, "")
    if len(salt) < 8:
        raise ConfigError(f"set the environment variable {SALT} to a secret of at least 8 characters and keep it")
    result = copy_deidentified(source, target, salt, LineReporter().track("de-identifying"))
    _print(result, target)
    raise typer.Exit(1 if result.refused else 0)


def _print(result: Copied, target: Path) -> None:
    print(
        f"{result.written} files written to {target}, {len(result.refused)} refused, {result.other} hold no DICOM image"
        + (f", {result.repeated} are repeated" if result.repeated else "")
    )
    for kind, lines in (("refused", result.refused), ("note", result.notes)):
        for line in lines[:_SHOWN]:
            print(f"{kind}: {line}")
        if len(lines) > _SHOWN:
            print(f"{kind}: {len(lines) - _SHOWN} more")
