"""Pictures as files: the one place that writes PNG, and that reads masks and images by their own path."""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from mmedpo.errors import ImageError, brief
from mmedpo.imaging.images import read_image, split_frame
from mmedpo.records import ImageRef, PreferencePair
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.storage.paths import safe_join

VALUES = "#values="
"""Between the name of a mask and those of its values that count."""


def png_bytes(pixels: Pixels, *, longest_side: int | None = None, smallest: bool = False) -> bytes:
    """A PNG file; the same pixels give the same bytes.

    Args:
        pixels: uint8 `[height, width]` or `[height, width, 3]`.
        longest_side: scaled down until no side is longer; never up.
        smallest: take the time to make the file as small as can be.
    """
    image = Image.fromarray(pixels)
    if longest_side is not None:
        image.thumbnail((longest_side, longest_side))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=smallest)
    return buffer.getvalue()


def read_mask(root: Path, relative: str) -> Mask:
    """A binary mask `[height, width]`: True where the image has any colour but black.

    `NAME#values=3+7` is True where the (first) channel has one of these values: one picture may mark several things.

    Raises:
        ImageError: as `read_image`, or values that are no numbers.
    """
    name, marked, listed = relative.partition(VALUES)
    mask = read_image(root, name)
    if not marked:
        return np.asarray((mask if mask.ndim == 2 else mask.max(axis=2)) > 0)
    if not all(value.isascii() and value.isdigit() for value in listed.split("+")):
        raise ImageError(f"mask {brief(relative)!r} names no values; allowed: {VALUES}N+N, whole numbers")
    wanted = [int(value) for value in listed.split("+")]
    return np.isin(mask if mask.ndim == 2 else mask[..., 0], wanted)


def read_image_file(path: Path) -> Pixels:
    """The image of one path whose folder is trusted; `#frame=N` names one frame of several.

    Raises:
        ImageError: as `read_image`.
    """
    return read_image(path.parent, path.name)


@lru_cache(maxsize=1 << 14)
def image_file(root: Path, relative: str) -> Path:
    """The path under which `read_image_file` finds an image of a table; it does not leave `root`.

    An image has many questions, and following links is slow: what was found is remembered.

    Raises:
        ImageError: it would.
    """
    safe_join(root, split_frame(relative)[0])
    return root / relative


def image_files(root: Path, images: Iterable[ImageRef]) -> tuple[Path, ...]:
    """`image_file` of each."""
    return tuple(image_file(root, image.path) for image in images)


def views_of(pair: PreferencePair, image_root: Path, run_root: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """The images of a pair's two sides, in order: the clean ones, and those that the rejected side is shown.

    Args:
        pair: a pair; a text pair shows both sides the same images.
        image_root: folder of the dataset's images.
        run_root: the run folder, where noised and imported images lie.

    Raises:
        ImageError: a path of the pair leaves its folder.
    """
    clean = image_files(image_root, pair.images)
    if pair.rejected_image_path is None:
        return clean, clean
    noised, place = image_file(run_root, pair.rejected_image_path), pair.noised_image
    return clean, (*clean[:place], noised, *clean[place + 1 :])
