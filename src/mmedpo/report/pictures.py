"""Pictures and draws of the report's examples: small PNGs, and an order that depends on seed and names alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from mmedpo.errors import MMedPOError
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import ImageRef
from mmedpo.records.shapes import Pixels
from mmedpo.seeds import derive_seed

LONGEST_SIDE = 256
"""Pixels of an embedded picture; larger images are scaled down so that the page stays small."""


T = TypeVar("T")


def picture(pixels: Pixels) -> bytes:
    """PNG bytes, scaled down to `LONGEST_SIDE`."""
    return png_bytes(pixels, longest_side=LONGEST_SIDE, smallest=True)


def shuffled(items: Iterable[T], seed: int, purpose: str, key: Callable[[T], str]) -> list[T]:
    """In an order that depends on seed and keys alone."""
    return sorted(items, key=lambda item: derive_seed(seed, "report", purpose, key(item)))


def stored_picture(root: Path, relative: str) -> tuple[bytes | None, str]:
    """The picture, or why there is none: a moved dataset must not cost the report."""
    try:
        return picture(read_image(root, relative)), ""
    except MMedPOError as error:
        return None, str(error)


def stored_pictures(root: Path, images: Sequence[ImageRef]) -> tuple[list[bytes | None], list[str]]:
    """The pictures in order, and why any is missing."""
    found = [stored_picture(root, image.path) for image in images]
    return [shown for shown, _ in found], [reason for _, reason in found]
