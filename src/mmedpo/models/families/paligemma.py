"""PaliGemma 1 and 2: images, then the question, all seen by all; no chat template, no turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedpo.models.areas import WHOLE, Areas, square
from mmedpo.models.family import Family, Size
from mmedpo.records import IMAGE_PLACE
from mmedpo.registry import register


@register("family", "paligemma")
class PaliGemma(Family):
    """The prompt is one prefix seen both ways; an answer is what comes behind its line break."""

    both_ways = "prompt"
    masks_by_kind = False
    templated = False

    def render(self, question: str, images: int) -> str:
        """As its processor writes it: images always stand before the text."""
        if images > 1:
            question = question.replace(IMAGE_PLACE, "")
        return f"{self.marker * images}{self.tokenizer.bos_token}{question}\n"

    def tokenize(self, text: str) -> list[int]:
        """Nothing is added: the text's opening stands behind the images."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def token_types(self, ids: Sequence[int], prompt: int) -> dict[str, list[int]]:
        """0 in the prefix, 1 in the answer: without it nothing would see ahead, silently."""
        return {"token_type_ids": [int(place >= prompt) for place in range(len(ids))]}

    def areas(self, size: Size) -> Areas:
        """A square grid over the whole picture, whatever its proportions."""
        return square(self.image_tokens(size), WHOLE, self.name)

    def positions(self, ids: Sequence[int], sizes: Sequence[Size]) -> NDArray[np.int64]:
        """[1, tokens], counted from 1."""
        return np.arange(1, len(ids) + 1)[None]
