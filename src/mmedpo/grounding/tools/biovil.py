"""BioViL-T: where does the film look like this report phrase?

Needs the published folder: image weights, `config.json`, `vocab.txt` and text weights. Nothing is downloaded. A
cosine has no scale, so there is no confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from mmedpo.config.groups import Settings, UserPath
from mmedpo.grounding.grounder import UNKNOWN, About, Region, needs
from mmedpo.grounding.regions import HALF_HEAT, components
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from mmedpo.grounding.networks.biovil import ImageSide


class BiovilSettings(Settings):
    """Folder and text."""

    folder: UserPath
    """Folder of the published files."""
    text: str = Field("disease", min_length=1)
    """What is looked for; it was trained on phrases of reports, e.g. `opacity in the left lower lobe`."""


@register("grounder", "biovil")
class BiovilGrounder:
    """The network with one text chosen."""

    name = "biovil"
    settings = BiovilSettings

    def __init__(self, network: ImageSide, vector: Tensor, text: str) -> None:
        self._network, self._vector, self._text = network, vector, text

    @classmethod
    def from_settings(cls, settings: BiovilSettings) -> BiovilGrounder:
        """Loads the folder and embeds the text.

        Raises:
            GroundingError: a file is missing or of another network, or the text is too long.
        """
        from mmedpo.grounding.networks import biovil

        vector = biovil.embed(settings.folder, settings.text)
        return cls(biovil.load_images(settings.folder), vector, settings.text)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To frontal chest radiographs, which it was trained on."""
        wanted = {"modality": ("xray",), "organ": ("chest",), "view": ("pa", "ap", "frontal", "")}
        return needs(wanted, modality, organ, view)

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at, nor the rim of the film."""
        import torch

        from mmedpo.grounding.networks import biovil, weights

        seen = biovil.middle(image)
        scores = biovil.similarity(self._network, seen.pixels, self._vector)
        inside = weights.heat_from(torch.from_numpy(scores), seen.side, seen.side)
        if inside is None:
            return Region(None, None, label=self._text, reason="map-without-peak")
        heat = np.zeros(image.shape[:2], dtype=np.float32)
        rows, columns = slice(seen.top, seen.top + seen.side), slice(seen.left, seen.left + seen.side)
        heat[rows, columns] = inside
        boxes = components(heat >= HALF_HEAT, self._text, max(1, heat.size // 1024))
        return Region(heat, None, boxes, self._text, reason="similarity-gives-no-confidence")
