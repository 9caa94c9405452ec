"""InternVL in the layout of `transformers` (names ending in -hf): tiles and the whole picture in one run of tokens."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmedpo.models.areas import WHOLE, Areas, grid
from mmedpo.models.family import Family, Size, UInt8Image
from mmedpo.registry import register


@register("family", "internvl")
class InternVL(Family):
    """Its processor always cuts pictures into tiles, whatever its image processor's file says."""

    sized = True

    def image_text(self, size: Size) -> str:
        """Placeholders of all tiles between two marks."""
        rows, columns = self._shuffled
        each = rows * columns
        tiles = self.image_processor.get_number_of_image_patches(*size, {"crop_to_patches": True})
        opening = getattr(self.tokenizer, "start_image_token", None) or "<img>"
        closing = getattr(self.tokenizer, "end_image_token", None) or "</img>"
        return f"{opening}{self.image_token * (each * tiles)}{closing}"

    def areas(self, size: Size) -> Areas:
        """Shuffled patches of each tile, then of the whole where there are several tiles."""
        from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

        processor = self.image_processor
        tile = (processor.size["height"], processor.size["width"])
        columns, rows = get_optimal_tiled_canvas(tuple(size), tile, processor.min_patches, processor.max_patches)
        tiles = [WHOLE.tile(row, column, rows, columns) for row in range(rows) for column in range(columns)]
        windows = tiles if len(tiles) == 1 else [*tiles, WHOLE]
        return np.concatenate([grid(*self._shuffled, window) for window in windows])

    @property
    def _shuffled(self) -> tuple[int, int]:
        """Rows and columns of tokens of one tile."""
        vision, ratio = self.config.vision_config, self.config.downsample_ratio
        rows, columns = (side // patch for side, patch in zip(vision.image_size, vision.patch_size, strict=True))
        return int(rows * ratio), int(columns * ratio)

    def encode(self, image: UInt8Image) -> dict[str, Tensor]:
        """Tiles one below the other."""
        return self.processed([self.picture(image)], "pixel_values", crop_to_patches=True)
