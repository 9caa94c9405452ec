"""JSON that this program wrote, read back as what it must hold: whoever made the file, it is data."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from mmedpo.errors import RunFolderError, brief

T = TypeVar("T")


def read_json(path: Path, kind: type[T]) -> T:
    """The value of a JSON file, checked against a type.

    Raises:
        RunFolderError: no JSON, nested without end, or not of that type; one short line.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = brief(".".join(str(part) for part in first["loc"]), 40)
        told = f"{where}: {brief(first['msg'], 100)}" if where else brief(first["msg"], 100)
        raise RunFolderError(
            f"{path} is damaged, or was written by another version ({told}); delete it and run its stage again"
        ) from None
