"""CoMedPO's causal pair: the lesion-masked background beside the image, and beside the image drowned in noise.

Both composites share their left half, so that what differs between them is what the right one shows of the lesion in
its surroundings (README of zxgapollo/CoMedPO, Eq. 11 to 14 of its manuscript).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmedpo.imaging.noises.noise import standard_normal
from mmedpo.imaging.pictures import png_bytes, read_image_file
from mmedpo.records.shapes import Pixels
from mmedpo.seeds import derive_seed
from mmedpo.storage.tables import write_bytes

PREFIX = "Both images belong to the same patient. Please analyze each and then provide a joint clinical conclusion. "
"""Stands before a question on a composite."""
STD = 0.1
"""Standard deviation of the noise on the right half of the counterfactual, of the range of the pixels."""


class Composites(NamedTuple):
    """Files of the two composites of an image."""

    factual: Path
    """Background beside the image: x_c."""
    counterfactual: Path
    """Background beside its noised self: x_c*."""


def composites(clean: Path, background: Path, name: str, folder: Path) -> Composites:
    """Writes the composites of one image, once.

    Args:
        clean: file of the image.
        background: file of the same without its lesion.
        name: tells the image from others; the noise depends on it alone.
        folder: where they are written.
    """
    made = Composites(folder / f"{name}-factual.png", folder / f"{name}-counterfactual.png")
    if not all(file.exists() for file in made):
        folder.mkdir(parents=True, exist_ok=True)
        image, left = read_image_file(clean), read_image_file(background)
        rng = np.random.default_rng([derive_seed(0, "composite", name)])
        noised = np.clip(np.rint(image + 255 * STD * standard_normal(image, rng)), 0, 255).astype(np.uint8)
        for file, right in zip(made, (image, noised), strict=True):
            write_bytes(file, png_bytes(beside(left, right)))
    return made


def beside(left: Pixels, right: Pixels) -> Pixels:
    """Two pictures of one size side by side, in the middle of a black square: no side is cut or squeezed.

    Args:
        left: uint8 [H, W] or [H, W, 3].
        right: of the same shape; a grey one beside a coloured one is taken as coloured.
    """
    if left.ndim != right.ndim:
        left, right = (image if image.ndim == 3 else np.stack([image] * 3, axis=-1) for image in (left, right))
    pair = np.concatenate([left, right], axis=1)
    height, width = pair.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, *pair.shape[2:]), dtype=np.uint8)
    top, start = (side - height) // 2, (side - width) // 2
    square[top : top + height, start : start + width] = pair
    return square
