"""What every piece of a report's content is made of: the frozen base, a number that may be missing, an image."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _finite_or_none(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _picture(value: bytes) -> bytes:
    image_type(value)
    return value


def image_type(data: bytes) -> str:
    """MIME type of PNG or JPEG bytes; raises `ValueError` for anything else, so that no other format is embedded."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    raise ValueError(f"image begins with {data[:8]!r}; a report embeds PNG or JPEG bytes only; encode it as PNG first")


Measured = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A finite number, or None when it was not measured."""
Picture = Annotated[bytes, BeforeValidator(_picture)]
"""PNG or JPEG file bytes."""


class Part(BaseModel):
    """A frozen piece of the report: unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
