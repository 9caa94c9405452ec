"""LLaVA-NeXT and LLaVA-OneVision: a small whole picture, then tiles of a larger one, with a mark behind every row.

The picture is fitted into the best of several resolutions and padded; features that lie wholly on the
padding are left out again. OneVision shrinks what is larger than so many tiles.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from mmedpo.models.areas import Areas, Window, grid, nowhere
from mmedpo.models.family import Family, Size, UInt8Image
from mmedpo.registry import register

_SHRINK_ABOVE = 1.1
"""How far OneVision lets a side be over its limit."""


@register("family", "llava_next")
class LlavaNext(Family):
    """Counts follow `LlavaNextModel.pack_image_features`."""

    sized = True

    def image_text(self, size: Size) -> str:
        """One placeholder per feature of the whole and of its tiles, one more per row of the tiles."""
        side, _, canvas = self._canvas(size)
        rows, columns = self.shrunk(*unpadded(size, *canvas), side)
        tokens: int = side * side + rows * (columns + 1)
        return self.image_token * tokens

    def areas(self, size: Size) -> Areas:
        """A grid over the whole picture, then one over the tiles without their padding, with marks behind its rows."""
        side, pixels, canvas = self._canvas(size)
        kept = unpadded(size, *canvas)
        rows, columns = self.shrunk(*kept, side)
        # The picture lies in the middle of the canvas, as large as fits.
        scale = min(pixels[0] / size.height, pixels[1] / size.width)
        bounds = []
        for length, room, cells, left in zip(size, pixels, canvas, kept, strict=True):
            shown = min(math.ceil(length * scale), room)
            margin = (cells - left) / 2 / cells * room
            bounds.append([(place - (room - shown) // 2) / shown for place in (margin, room - margin)])
        (top, bottom), (first, last) = bounds
        tiles = grid(rows, columns, Window(top, first, bottom, last)).reshape(rows, columns, 4)
        marked = np.concatenate([tiles, nowhere(rows).reshape(rows, 1, 4)], axis=1)
        return np.concatenate([grid(side, side), marked.reshape(-1, 4)])

    def _canvas(self, size: Size) -> tuple[int, tuple[int, int], tuple[int, int]]:
        """Rows of features of one tile; height and width of all tiles in pixels; their rows and columns of features."""
        from transformers.image_processing_utils import select_best_resolution

        vision = self.config.vision_config
        side = vision.image_size // vision.patch_size
        height, width = select_best_resolution(tuple(size), self.config.image_grid_pinpoints)
        return side, (height, width), (height // vision.image_size * side, width // vision.image_size * side)

    def shrunk(self, rows: int, columns: int, side: int) -> tuple[int, int]:
        """Rows and columns of tile features that are left; `side` are those of one tile."""
        return rows, columns

    def encode(self, image: UInt8Image) -> dict[str, Tensor]:
        """Tiles of the picture, and its size, which tells where the padding lies."""
        return self.processed([self.picture(image)], "pixel_values", "image_sizes")


@register("family", "llava_onevision")
class LlavaOneVision(LlavaNext):
    """Counts follow `LlavaOnevisionModel.pack_image_features`.

    Of several pictures in a question its processor shows each as one tile, padded to a square, without the tiles it
    has alone: features of a picture would depend on its neighbours.
    """

    several = False

    def shrunk(self, rows: int, columns: int, side: int) -> tuple[int, int]:
        """At most so many tiles' worth of features (`anyres_max_9`: nine)."""
        tiles = int(self.config.vision_aspect_ratio.removeprefix("anyres_max_"))
        ratio = math.sqrt(rows * columns / (tiles * side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > _SHRINK_ABOVE else (rows, columns)


def unpadded(size: Size, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of a padded grid that the picture itself covers."""
    if size.width / size.height > columns / rows:
        covered = int(round(size.height * (columns / size.width), 7))
        return rows - (rows - covered) // 2 * 2, columns
    covered = int(round(size.width * (rows / size.height), 7))
    return rows, columns - (columns - covered) // 2 * 2
