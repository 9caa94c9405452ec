"""Patch-text similarity of a CLIP-like model: where does the picture look like the text?

With `against`, the map is the difference of two similarities, and the confidence the softmax of the whole
image's two logits; without it there is no confidence, because one similarity has no scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from mmedpo.config.groups import Settings, UserPath
from mmedpo.grounding.grounder import UNKNOWN, About, Region, needs
from mmedpo.grounding.regions import HALF_HEAT, components
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.networks.clip import ClipPatches


class ClipPatchSettings(Settings):
    """Model and texts."""

    folder: UserPath
    """Folder of the model, with its tokenizer."""
    text: str = Field("disease", min_length=1)
    """What is looked for."""
    against: str = ""
    """What a healthy picture is like; its similarity is taken off. Empty: nothing is."""
    modalities: tuple[str, ...] = ()
    """What the model was trained on, e.g. `[xray, ct]`; empty: every modality."""


@register("grounder", "clip-patch")
class ClipPatchGrounder:
    """The model with its texts."""

    name = "clip-patch"
    settings = ClipPatchSettings

    def __init__(self, patches: ClipPatches, settings: ClipPatchSettings) -> None:
        self._patches, self._settings = patches, settings

    @classmethod
    def from_settings(cls, settings: ClipPatchSettings) -> ClipPatchGrounder:
        """Loads the model and embeds the texts.

        Raises:
            GroundingError: no such folder, or another kind of model in it.
        """
        from mmedpo.grounding.networks.clip import ClipPatches

        texts = [settings.text, *([settings.against] if settings.against else [])]
        return cls(ClipPatches.load(settings.folder, texts), settings)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To the modalities the user says the model knows."""
        return (
            needs({"modality": self._settings.modalities}, modality, organ, view) if self._settings.modalities else ""
        )

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at."""
        from mmedpo.grounding.networks.weights import heat_from

        seen, label = self._patches.look(image), self._settings.text
        contrast = len(seen.patches) > 1
        scores = seen.patches[0] - seen.patches[1] if contrast else seen.patches[0]
        heat = heat_from(scores, *image.shape[:2])
        confidence = float(seen.image.softmax(dim=0)[0]) if contrast else None
        if heat is None:
            return Region(None, confidence, label=label, reason="map-without-peak")
        boxes = components(heat >= HALF_HEAT, label, max(1, heat.size // 1024))
        return Region(heat, confidence, boxes, label, reason="" if contrast else "similarity-gives-no-confidence")
