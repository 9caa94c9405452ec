"""Boxes of the dataset refined to the lesion's outline by a segmentation model: SAM-type, with classes, or prompted.

What a model of classes finds outside the boxes is not marked: the box says where the lesion is, the model its outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from mmedpo.config.groups import Settings, UserPath
from mmedpo.grounding.grounder import UNKNOWN, About, Region, needs
from mmedpo.grounding.regions import clip_box, components, edge_margin, soft_edges
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.networks.segmentation import Refiner


class SegSettings(Settings):
    """The model."""

    folder: UserPath
    """Folder of a model of `transformers`, with its `preprocessor_config.json`."""
    text: str = Field("", max_length=200)
    """What is looked for in the boxes: a class by the model's name for it, or a phrase for a prompted model; none for
    SAM-type models."""
    modalities: tuple[str, ...] = ()
    """What the model was trained on, e.g. `[ct, mri]`; empty: every modality."""


@register("grounder", "seg")
class SegGrounder:
    """A refiner of boxes. Without a box it declines: it cannot find anything itself."""

    name = "seg"
    settings = SegSettings

    def __init__(self, refiner: Refiner, modalities: tuple[str, ...] = ()) -> None:
        self._refiner, self._modalities = refiner, modalities

    @classmethod
    def from_settings(cls, settings: SegSettings) -> SegGrounder:
        """Loads the model.

        Raises:
            GroundingError: no such folder, another kind of model in it, or a text that it does not take.
        """
        from mmedpo.grounding.networks.segmentation import open_refiner

        return cls(open_refiner(settings.folder, settings.text), settings.modalities)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To images that have a box, of the modalities the user says the model knows."""
        return needs({"modality": self._modalities}, modality, organ, view) if self._modalities else ""

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; the mask of the example is not looked at."""
        height, width = image.shape[:2]
        boxes = [kept for box in example_boxes if (kept := clip_box(box, height, width)) is not None]
        if not boxes:
            return Region(None, None, reason="no-box-to-refine", declined=True)
        label = ", ".join(sorted({box.label for box in boxes if box.label}))
        lesion = self._refiner.refine(image, boxes)
        if not lesion.any():
            return Region(None, None, label=label, reason="nothing-in-the-box")
        heat = soft_edges(lesion, edge_margin(height, width))
        return Region(heat, None, components(lesion, label), label, reason="outline-gives-no-confidence")
