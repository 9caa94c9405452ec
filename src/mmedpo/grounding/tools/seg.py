"""Boxes of the dataset refined to the lesion's outline by a SAM-type model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmedpo.config.groups import Settings, UserPath
from mmedpo.grounding.grounder import UNKNOWN, About, Region
from mmedpo.grounding.regions import clip_box, components, edge_margin, soft_edges
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register

if TYPE_CHECKING:
    from mmedpo.grounding.networks.sam import BoxRefiner


class SegSettings(Settings):
    """The model."""

    folder: UserPath
    """Folder of a SAM-type model."""


@register("grounder", "seg")
class SegGrounder:
    """A refiner of boxes. Without a box it declines: it cannot find anything itself."""

    name = "seg"
    settings = SegSettings

    def __init__(self, refiner: BoxRefiner) -> None:
        self._refiner = refiner

    @classmethod
    def from_settings(cls, settings: SegSettings) -> SegGrounder:
        """Loads the model.

        Raises:
            GroundingError: no such folder, or another kind of model in it.
        """
        from mmedpo.grounding.networks.sam import BoxRefiner

        return cls(BoxRefiner.load(settings.folder))

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To every image that has a box."""
        return ""

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
