"""A family of models: built like LLaVA, under another name of its configuration."""

from __future__ import annotations

from mmedpo.models.family import Family
from mmedpo.registry import register


@register("family", "colour-llava")
class ColourLlava(Family):
    """Nothing differs from the defaults."""
