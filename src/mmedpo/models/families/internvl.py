"""InternVL in the layout of `transformers` (names ending in -hf): tiles and the whole picture in one run of tokens."""

from __future__ import annotations

from torch import Tensor

from mmedpo.models.family import Family, Size, UInt8Image
from mmedpo.registry import register


@register("family", "internvl")
class InternVL(Family):
    """Its processor always cuts pictures into tiles, whatever its image processor's file says."""

    sized = True

    def image_text(self, size: Size) -> str:
        """Placeholders of all tiles between two marks."""
        vision = self.config.vision_config
        grid = [side // patch for side, patch in zip(vision.image_size, vision.patch_size, strict=True)]
        each = int(grid[0] * grid[1] * self.config.downsample_ratio**2)
        tiles = self.image_processor.get_number_of_image_patches(*size, {"crop_to_patches": True})
        opening = getattr(self.tokenizer, "start_image_token", None) or "<img>"
        closing = getattr(self.tokenizer, "end_image_token", None) or "</img>"
        return f"{opening}{self.image_token * (each * tiles)}{closing}"

    def encode(self, image: UInt8Image) -> dict[str, Tensor]:
        """Tiles one below the other."""
        return self.processed([self.picture(image)], "pixel_values", crop_to_patches=True)
