"""Gemma 3, and so MedGemma: an image's tokens see their whole image, in layers that look back far or near."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.models.areas import WHOLE, Areas, square
from mmedpo.models.family import Family, Size
from mmedpo.registry import register


@register("family", "gemma3")
class Gemma3(Family):
    """The template writes the mark that opens an image; the rest stands around it as its processor writes it."""

    both_ways = "images"

    @property
    def marker(self) -> str:
        """The opening mark."""
        return str(self.tokenizer.convert_ids_to_tokens(self.config.boi_token_id))

    def image_text(self, size: Size) -> str:
        """Placeholders between marks, between blank lines."""
        closing = self.tokenizer.convert_ids_to_tokens(self.config.eoi_token_id)
        return f"\n\n{self.marker}{self.image_token * self.config.mm_tokens_per_image}{closing}\n\n"

    def areas(self, size: Size) -> Areas:
        """A square grid of pooled patches over the whole picture, whatever its proportions."""
        return square(self.image_tokens(size), WHOLE, self.name)

    def token_types(self, ids: Sequence[int], prompt: int) -> dict[str, list[int]]:
        """1 where an image stands: without it nothing would see ahead, silently."""
        return {"token_type_ids": [int(token == self.image_token_id) for token in ids]}
