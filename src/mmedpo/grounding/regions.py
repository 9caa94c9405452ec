"""Boxes, masks and soft edges: the geometry every visual tool shares."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmedpo.records import Box
from mmedpo.records.shapes import Heatmap

MARGIN_SHARE = 0.02
"""Width of the soft edge as a share of the image's shorter side."""
HALF_HEAT = 0.5
"""Heat from which on a pixel belongs to a marked box."""
BACKGROUND_QUANTILE = 0.85
"""Share of an image that no map of probabilities heats: lesions are small."""


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


def edge_margin(height: int, width: int) -> float:
    """Width of the soft edge of an image's annotations, pixels."""
    return max(1.0, MARGIN_SHARE * min(height, width))


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


def heat_of(probabilities: NDArray[np.floating]) -> Heatmap | None:
    """Probabilities as heat: 0 up to their BACKGROUND_QUANTILE, 1 at the peak, linear between; None when flat."""
    floor, peak = float(np.quantile(probabilities, BACKGROUND_QUANTILE)), float(probabilities.max())
    if peak - floor < 1e-9:
        return None
    return np.asarray(np.clip((probabilities - floor) / (peak - floor), 0.0, 1.0), dtype=np.float32)


def organ_region(boxes: Sequence[Box], mask: NDArray[np.bool_] | None, height: int, width: int) -> Heatmap | None:
    """Annotated organs with soft edges; None where none is.

    A mask counts inside the boxes, where there are any: what it marks there is the organ, or a lesion in it. Where it
    marks nothing there, the boxes are all that is known.
    """
    inside = boxes_mask(boxes, height, width)
    if mask is not None and mask.any():
        both = mask & inside if boxes else mask.astype(bool)
        inside = both if both.any() else inside
    return soft_edges(inside, edge_margin(height, width)) if inside.any() else None


def labels_of(boxes: Sequence[Box]) -> str:
    """The names in boxes, each once."""
    return ", ".join(sorted({box.label for box in boxes if box.label}))
