"""The region that came with the data: an annotator's boxes or mask, made soft at the edge.

The edge is a half cosine that falls from 1 at the annotated border to 0 at a margin outside it, so
that the whole lesion is covered and the noise of Eq. 2 ends without a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import Region
from mmedpo.records import Box
from mmedpo.records.shapes import Heatmap, Mask, Pixels
from mmedpo.registry import register

MARGIN_SHARE = 0.02
"""Width of the soft edge as a share of the image's shorter side."""


@register("grounder", "annotation")
class AnnotationGrounder:
    """Boxes and masks of the dataset itself.

    An annotation says where, not how sure: the confidence is always None, with reason
    `annotation-gives-no-confidence`. Without boxes or mask the heatmap is None too, with reason
    `no-lesion-annotated` (whether the image was looked at at all is `Example.annotated`).
    """

    name = "annotation"

    def ground(self, image: Pixels, example_boxes: Sequence[Box] = (), mask: Mask | None = None) -> Region:
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
            return Region(None, None, reason="no-lesion-annotated")
        labels = sorted({box.label for box in boxes if box.label})
        return Region(
            heatmap=soft_edges(lesion, max(1.0, MARGIN_SHARE * min(height, width))),
            confidence=None,
            boxes=boxes or components(lesion),
            label=", ".join(labels),
            reason="annotation-gives-no-confidence",
        )


def clip_box(box: Box, height: int, width: int) -> Box | None:
    """The part of the box inside the image; None when nothing of it is."""
    x0, y0 = max(0.0, box.x0), max(0.0, box.y0)
    x1, y1 = min(float(width), box.x1), min(float(height), box.y1)
    if x1 <= x0 or y1 <= y0:
        return None
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, label=box.label)


def boxes_mask(boxes: Sequence[Box], height: int, width: int) -> NDArray[np.bool_]:
    """bool [height, width], True in every pixel that a box touches."""
    mask = np.zeros((height, width), dtype=bool)
    for box in boxes:
        kept = clip_box(box, height, width)
        if kept is not None:
            mask[math.floor(kept.y0) : math.ceil(kept.y1), math.floor(kept.x0) : math.ceil(kept.x1)] = True
    return mask


def soft_edges(mask: NDArray[np.bool_], margin: float) -> Heatmap:
    """1 on the mask, (1 + cos(pi d / margin)) / 2 at distance d outside it, 0 from `margin` pixels on."""
    from scipy.ndimage import distance_transform_edt

    distance = np.asarray(distance_transform_edt(~mask), dtype=np.float64)
    ramp = 0.5 * (1.0 + np.cos(np.pi * np.minimum(distance / margin, 1.0)))
    return ramp.astype(np.float32)


def components(mask: NDArray[np.bool_], label: str = "", smallest: int = 1) -> tuple[Box, ...]:
    """Bounding boxes of the 8-connected parts of a mask that have at least `smallest` pixels, largest first."""
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as label_parts

    parts, _ = label_parts(mask, structure=np.ones((3, 3), dtype=int))
    sizes = np.bincount(parts.ravel())
    found = [(int(sizes[i + 1]), where) for i, where in enumerate(find_objects(parts)) if where is not None]
    return tuple(
        Box(x0=columns.start, y0=rows.start, x1=columns.stop, y1=rows.stop, label=label)
        for size, (rows, columns) in sorted(found, key=lambda part: -part[0])
        if size >= smallest
    )
