"""LLaVA 1.5 and what is built like it: LLaVA-Med, HuatuoGPT-Vision, LLaVA on Llama 3.

The picture is resized (or padded to a square) by the checkpoint's own image processor, so an image
takes as many tokens as the tower has patches, whatever its size.
"""

from __future__ import annotations

from mmedpo.models.areas import Areas, seen, square
from mmedpo.models.family import Family, Size
from mmedpo.registry import register


@register("family", "llava")
class Llava(Family):
    """Nothing differs from the defaults but where its tokens lie."""

    def areas(self, size: Size) -> Areas:
        """A square grid over what the image processor leaves of the picture."""
        return square(self.image_tokens(size), seen(self.image_processor, *size), self.name)
