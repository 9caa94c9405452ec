"""Qwen2-VL, Qwen2.5-VL (and so Lingshu, HuatuoGPT-Vision-Qwen2.5VL) and Qwen3-VL (and so MedMO).

Pictures keep their proportions: as many patches as fit between two limits, merged two by two. Every
token has three positions (time, row, column), and those of an image start where its text had come to.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmedpo.models.areas import Areas, grid
from mmedpo.models.family import Family, Size, UInt8Image
from mmedpo.registry import register


@register("family", "qwen2_vl")
@register("family", "qwen2_5_vl")
@register("family", "qwen3_vl")
class QwenVL(Family):
    """Grids follow the image processor, positions `get_rope_index`."""

    sized = True
    merger = "merger"

    def image_text(self, size: Size) -> str:
        """One placeholder for every merged patch."""
        rows, columns = self._merged(size)
        return self.image_token * (rows * columns)

    def encode(self, image: UInt8Image) -> dict[str, Tensor]:
        """Patches one below the other, and the grid they stand in."""
        return self.processed([self.picture(image)], "pixel_values", "image_grid_thw")

    def token_types(self, ids: Sequence[int], prompt: int) -> dict[str, list[int]]:
        """1 where an image stands: positions are counted by it."""
        return {"mm_token_type_ids": [int(token == self.image_token_id) for token in ids]}

    def image_inputs(self, size: Size) -> dict[str, Tensor]:
        """The grid: without it, positions would be counted along one line, silently."""
        return {"image_grid_thw": torch.tensor([[1, *self._grid(size)]])}

    def positions(self, ids: Sequence[int], sizes: Sequence[Size]) -> NDArray[np.int64]:
        """[3, tokens] time, row and column."""
        parts: list[NDArray[np.int64]] = []
        start = at = 0
        images = iter(sizes)
        while at < len(ids):
            if ids[at] == self.image_token_id:
                rows, columns = self._merged(next(images))
                row, column = np.divmod(np.arange(rows * columns), columns)
                parts.append(start + np.stack([np.zeros_like(row), row, column]))
                start, at = start + max(rows, columns), at + rows * columns
            else:
                parts.append(np.full((3, 1), start))
                start, at = start + 1, at + 1
        return np.concatenate(parts, axis=1)

    def areas(self, size: Size) -> Areas:
        """Merged patches row by row over the whole picture."""
        return grid(*self._merged(size))

    def _grid(self, size: Size) -> tuple[int, int]:
        """Rows and columns of patches."""
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        processor = self.image_processor
        height, width = smart_resize(
            *size,
            processor.patch_size * processor.merge_size,
            min_pixels=processor.size["shortest_edge"],
            max_pixels=processor.size["longest_edge"],
        )
        return height // processor.patch_size, width // processor.patch_size

    def _merged(self, size: Size) -> tuple[int, int]:
        merge = self.config.vision_config.spatial_merge_size
        rows, columns = self._grid(size)
        return rows // merge, columns // merge
