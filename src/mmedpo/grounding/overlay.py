"""Heatmap and boxes drawn over a radiograph, for reports and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import to_grey
from mmedpo.records import Box
from mmedpo.records.shapes import Heatmap, Mask, Pixels

_STOPS = np.array(
    [(0.0, 20, 11, 52), (0.25, 97, 19, 110), (0.5, 187, 55, 84), (0.75, 249, 142, 9), (1.0, 252, 255, 164)],
    dtype=np.float64,
)
"""Position and RGB of a dark-violet to pale-yellow scale whose lightness only rises, so that more heat looks
like more in grey print and to colour-blind eyes too."""
OPACITY = 0.45
"""Opacity at full heat; it falls to 0 with the heat, so that anatomy without heat is left as it is."""
BOX_COLOUR = (64, 224, 208)
"""Turquoise: occurs neither in the radiograph nor in the heat scale."""


def colour_map(values: Heatmap) -> Pixels:
    """uint8 RGB [H, W, 3] of values in 0..1, linear between the stops of the scale."""
    clipped = np.clip(values, 0.0, 1.0)
    channels = [np.interp(clipped, _STOPS[:, 0], _STOPS[:, channel]) for channel in (1, 2, 3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def overlay(image: Pixels, heatmap: Heatmap | None, boxes: Sequence[Box] = (), lesion: Mask | None = None) -> Pixels:
    """uint8 RGB [H, W, 3]: the image in grey, the heat over it, the boxes and the lesion as outlines.

    Where the heat is 0 and no outline runs, the picture is exactly the grey image. Outlines are
    drawn inward from the border, about 1/160 of the image's longer side thick.

    Raises:
        GroundingError: image of a wrong type or shape, or a heatmap or lesion of another size.
    """
    grey = to_grey(image)
    height, width = grey.shape
    picture = np.repeat(grey[..., None], 3, axis=-1)
    if heatmap is not None:
        if heatmap.shape != (height, width):
            raise GroundingError(f"heatmap has shape {list(heatmap.shape)}, the image {[height, width]}; must agree")
        alpha = OPACITY * np.clip(heatmap, 0.0, 1.0)[..., None]
        picture = picture * (1.0 - alpha) + colour_map(heatmap) * alpha
    out = np.rint(picture).astype(np.uint8)
    thickness = max(1, round(max(height, width) / 160))
    for box in boxes:
        _outline(out, box, thickness)
    if lesion is not None:
        if lesion.shape != (height, width):
            raise GroundingError(f"lesion has shape {list(lesion.shape)}, the image {[height, width]}; must agree")
        out[lesion & ~_eroded(lesion, thickness)] = BOX_COLOUR
    return out


def _eroded(lesion: Mask, steps: int) -> Mask:
    """Without its outermost pixels, so many deep; what lies at the picture's edge has its border there."""
    for _ in range(steps):
        wide = np.pad(lesion, 1)
        lesion = lesion & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return lesion


def _outline(picture: Pixels, box: Box, thickness: int) -> None:
    height, width = picture.shape[:2]
    x0, x1 = sorted((min(max(round(box.x0), 0), width), min(max(round(box.x1), 0), width)))
    y0, y1 = sorted((min(max(round(box.y0), 0), height), min(max(round(box.y1), 0), height)))
    inside = picture[y0:y1, x0:x1]
    frame = np.ones(inside.shape[:2], dtype=bool)
    frame[thickness:-thickness, thickness:-thickness] = False
    inside[frame] = BOX_COLOUR
