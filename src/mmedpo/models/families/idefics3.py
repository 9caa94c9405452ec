"""Idefics3 and SmolVLM: rows of tiles with their places written out between them, then the whole picture."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmedpo.models.areas import WHOLE, Areas, grid
from mmedpo.models.family import Family, Size, UInt8Image
from mmedpo.registry import register

FAKE, OVERVIEW = "<fake_token_around_image>", "<global-img>"


@register("family", "idefics3")
@register("family", "smolvlm")
class Idefics3(Family):
    """Its image string is that of `Idefics3Processor.replace_image_token`."""

    sized = True

    def image_text(self, size: Size) -> str:
        """Tiles row by row, a line each; a blank line; the whole."""
        each = self.image_token * self._side**2
        _, rows, columns = self.image_processor.get_number_of_image_patches(*size)
        tiles = "".join(
            "".join(f"{FAKE}<row_{row + 1}_col_{column + 1}>{each}" for column in range(columns)) + "\n"
            for row in range(rows)
        )
        return f"{tiles}{chr(10) if tiles else ''}{FAKE}{OVERVIEW}{each}{FAKE}"

    def areas(self, size: Size) -> Areas:
        """Shuffled patches of each tile, then of the whole."""
        _, rows, columns = self.image_processor.get_number_of_image_patches(*size)
        tiles = [WHOLE.tile(row, column, rows, columns) for row in range(rows) for column in range(columns)]
        return np.concatenate([grid(self._side, self._side, window) for window in (*tiles, WHOLE)])

    @property
    def _side(self) -> int:
        """Rows of tokens of one tile."""
        vision = self.config.vision_config
        return int(vision.image_size // vision.patch_size // self.config.scale_factor)

    def encode(self, image: UInt8Image) -> dict[str, Tensor]:
        """Tiles of one picture of one row."""
        return self.processed([[self.picture(image)]], "pixel_values", "pixel_attention_mask")
