"""LLaVA-NeXT and LLaVA-OneVision: a small whole picture, then tiles of a larger one, with a mark behind every row.

The picture is fitted into the best of several resolutions and padded; features that lie wholly on the
padding are left out again. OneVision shrinks what is larger than so many tiles.
"""

from __future__ import annotations

import math

from torch import Tensor

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
        from transformers.image_processing_utils import select_best_resolution

        vision = self.config.vision_config
        side = vision.image_size // vision.patch_size
        rows, columns = (
            length // vision.image_size * side
            for length in select_best_resolution(tuple(size), self.config.image_grid_pinpoints)
        )
        rows, columns = self.shrunk(*unpadded(size, rows, columns), side)
        tokens: int = side * side + rows * (columns + 1)
        return self.image_token * tokens

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
