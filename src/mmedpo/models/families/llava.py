"""LLaVA 1.5 and what is built like it: LLaVA-Med, HuatuoGPT-Vision, LLaVA on Llama 3.

The picture is resized (or padded to a square) by the checkpoint's own image processor, so an image
takes as many tokens as the tower has patches, whatever its size.
"""

from __future__ import annotations

from mmedpo.models.family import Family
from mmedpo.registry import register


@register("family", "llava")
class Llava(Family):
    """Nothing differs from the defaults."""
