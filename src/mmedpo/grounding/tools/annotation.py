"""The region that came with the data: an annotator's boxes or mask, made soft at the edge.

The edge is a half cosine that falls from 1 at the annotated border to 0 at a margin outside it, so
that the whole lesion is covered and the noise of Eq. 2 ends without a step.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.clinical.labels import apart
from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import UNKNOWN, About, Organ, Region
from mmedpo.grounding.regions import (
    boxes_mask,
    clip_box,
    components,
    edge_margin,
    labels_of,
    organ_region,
    soft_edges,
)
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register


@register("grounder", "annotation")
class AnnotationGrounder:
    """Boxes and masks of the dataset itself.

    An annotation says where, not how sure: the confidence is always None, with reason
    `annotation-gives-no-confidence`. Boxes of organs are no lesion: `organs` gives those of the example. Without
    boxes of findings and without mask the heatmap is None too, with reason `no-lesion-annotated`; where nobody
    looked for lesions (`Example.annotated`) the next tool is asked.
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
        findings, _ = apart(example_boxes)
        boxes = tuple(kept for box in findings if (kept := clip_box(box, height, width)) is not None)
        _check(mask, height, width)
        lesion = boxes_mask(boxes, height, width) if mask is None or not mask.any() else mask.astype(bool)
        if not lesion.any():
            return Region(None, None, reason="no-lesion-annotated", declined=not about.annotated)
        return Region(
            heatmap=soft_edges(lesion, edge_margin(height, width)),
            confidence=None,
            boxes=boxes or components(lesion),
            label=labels_of(boxes),
            reason="annotation-gives-no-confidence",
        )

    def organs(
        self,
        image: Pixels,
        organ_boxes: Sequence[Box] = (),
        organ_mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Organ | None:
        """See `OrganMapper.organs`.

        Raises:
            GroundingError: a mask of another size.
        """
        height, width = image.shape[:2]
        _check(organ_mask, height, width)
        heat = organ_region(organ_boxes, organ_mask, height, width)
        return None if heat is None else Organ(heat, labels_of(organ_boxes) or about.organ)


def _check(mask: Mask | None, height: int, width: int) -> None:
    if mask is not None and mask.shape != (height, width):
        raise GroundingError(
            f"mask has shape {list(mask.shape)}, the image {[height, width]}; a mask must have the size of its image"
        )
