"""The region that came with the data: an annotator's boxes or mask, made soft at the edge.

The edge is a half cosine that falls from 1 at the annotated border to 0 at a margin outside it, so
that the whole lesion is covered and the noise of Eq. 2 ends without a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import UNKNOWN, About, Region
from mmedpo.grounding.regions import boxes_mask, clip_box, components, edge_margin, soft_edges
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register


@register("grounder", "annotation")
class AnnotationGrounder:
    """Boxes and masks of the dataset itself.

    An annotation says where, not how sure: the confidence is always None, with reason
    `annotation-gives-no-confidence`. Without boxes or mask the heatmap is None too, with reason
    `no-lesion-annotated`; where nobody looked for lesions (`Example.annotated`) the next tool is asked.
    """

    name = "annotation"

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To every image: an annotator saw what it is."""
        return ""

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`. A mask goes before the boxes for the heatmap; boxes are returned clipped."""
        height, width = image.shape[:2]
        boxes = tuple(kept for box in example_boxes if (kept := clip_box(box, height, width)) is not None)
        if mask is not None and mask.shape != (height, width):
            raise GroundingError(
                f"mask has shape {list(mask.shape)}, the image {[height, width]}; "
                "a mask must have the size of its image"
            )
        lesion = boxes_mask(boxes, height, width) if mask is None or not mask.any() else mask.astype(bool)
        if not lesion.any():
            return Region(None, None, reason="no-lesion-annotated", declined=not about.annotated)
        labels = sorted({box.label for box in boxes if box.label})
        return Region(
            heatmap=soft_edges(lesion, edge_margin(height, width)),
            confidence=None,
            boxes=boxes or components(lesion),
            label=", ".join(labels),
            reason="annotation-gives-no-confidence",
        )
