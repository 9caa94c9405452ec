"""Chest probes as JSON files."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from mmedpo.errors import GroundingError
from mmedpo.grounding.chest.model import ChestCoefficients
from mmedpo.storage.tables import write_text

SHIPPED = "chest-xray"


def save(coefficients: ChestCoefficients, path: Path) -> None:
    """Writes the coefficients as JSON; the file appears only when complete."""
    content = json.loads(
        json.dumps(coefficients.model_dump(mode="json")), parse_float=lambda text: float(f"{float(text):.6g}")
    )
    write_text(path, json.dumps(content) + "\n")


def load(probe: str) -> ChestCoefficients:
    """A shipped probe by name, or the one in a `.json` file.

    Raises:
        GroundingError: no such probe, an unreadable file, or numbers of another length or meaning.
    """
    if probe.endswith(".json"):
        try:
            return _parse(Path(probe).read_text(encoding="utf-8"), probe)
        except (OSError, UnicodeDecodeError) as error:
            raise GroundingError(f"cannot read the probe {probe}: {error}") from error
    if probe != SHIPPED:
        raise GroundingError(f"no shipped chest probe {probe[:60]!r}; allowed: {SHIPPED}, or a .json file")
    file = resources.files("mmedpo.grounding") / "coefficients" / f"{SHIPPED}.json"
    return _parse(file.read_text(encoding="utf-8"), probe)


def _parse(text: str, origin: str) -> ChestCoefficients:
    try:
        return ChestCoefficients.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise GroundingError(f"probe {origin} is not usable: {where}: {first['msg']}; fit it again") from error
