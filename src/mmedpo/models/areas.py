"""Which part of a picture each image token is made of, as a family's image processor cuts it. Pure geometry, no torch.

An area is (top, left, bottom, right) in shares of the picture's height and width. It may reach beyond 0..1 where the
processor pads, and is NaN for a token that stands for no place: a class token, the mark behind a row.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import ModelError

Areas = NDArray[np.float64]
"""[image tokens, 4]: top, left, bottom, right of each."""


class Window(NamedTuple):
    """A rectangle, in shares of the picture."""

    top: float = 0.0
    left: float = 0.0
    bottom: float = 1.0
    right: float = 1.0

    def tile(self, row: int, column: int, rows: int, columns: int) -> Window:
        """One of equal tiles of it."""
        height, width = self.bottom - self.top, self.right - self.left
        return Window(
            self.top + height * row / rows,
            self.left + width * column / columns,
            self.top + height * (row + 1) / rows,
            self.left + width * (column + 1) / columns,
        )


WHOLE = Window()
"""The whole picture."""


def grid(rows: int, columns: int, window: Window = WHOLE) -> Areas:
    """[rows * columns, 4] equal parts of a window, row by row."""
    across = np.linspace(window.left, window.right, columns + 1)
    down = np.linspace(window.top, window.bottom, rows + 1)
    row, column = np.divmod(np.arange(rows * columns), columns)
    return np.stack([down[row], across[column], down[row + 1], across[column + 1]], axis=1)


def nowhere(tokens: int) -> Areas:
    """[tokens, 4] of tokens that stand for no place."""
    return np.full((tokens, 4), np.nan)


def square(tokens: int, window: Window, name: str) -> Areas:
    """A square grid over a window, with or without a class token before it.

    Raises:
        ModelError: no square number of tokens, nor one more.
    """
    for before in (0, 1):
        side = math.isqrt(max(tokens - before, 0))
        if side and side * side == tokens - before:
            return np.concatenate([nowhere(before), grid(side, side, window)])
    raise ModelError(f"{name!r}: {tokens} image tokens are no square grid, so they cannot be placed on the picture")


def seen(processor: Any, height: int, width: int) -> Window:
    """What of a picture is left when it was padded, resized and cropped as CLIP's and LLaVA's processors do.

    Args:
        processor: with `size`, and `do_pad`, `do_resize`, `do_center_crop` and `crop_size` where it has them.
        height: of the picture, pixels; and width.
    """
    side = max(height, width)
    padded = (side, side) if getattr(processor, "do_pad", False) else (height, width)
    before = ((padded[0] - height) // 2, (padded[1] - width) // 2)
    resized = _resized(processor, *padded) if getattr(processor, "do_resize", True) else padded
    crop = resized
    if getattr(processor, "do_center_crop", False):
        crop = (int(processor.crop_size["height"]), int(processor.crop_size["width"]))
    bounds = []
    for have, want, full, skip, own in zip(resized, crop, padded, before, (height, width), strict=True):
        first = (have - want) // 2
        bounds.append([(place * full / have - skip) / own for place in (first, first + want)])
    (top, bottom), (left, right) = bounds
    return Window(top, left, bottom, right)


def _resized(processor: Any, height: int, width: int) -> tuple[int, int]:
    size = dict(processor.size)
    if size.get("height") and size.get("width"):
        return int(size["height"]), int(size["width"])
    shortest = size.get("shortest_edge")
    if not shortest or size.get("longest_edge"):
        raise ModelError(f"an image processor that resizes to {size} is not known; its tokens cannot be placed")
    # As `get_resize_output_image_size`: the longer side is rounded down.
    longer = int(shortest * max(height, width) / min(height, width))
    return (int(shortest), longer) if height <= width else (longer, int(shortest))
