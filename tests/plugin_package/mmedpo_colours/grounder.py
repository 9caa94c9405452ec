"""A visual tool: the middle of the picture, always equally sure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmedpo.grounding.grounder import Region
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register


@register("grounder", "middle")
class Middle:
    """Marks the inner quarter."""

    name = "middle"

    def ground(self, image: Pixels, example_boxes: Sequence[Box] = (), mask: Mask | None = None) -> Region:
        """See `Grounder`."""
        height, width = image.shape[:2]
        heatmap = np.zeros((height, width), dtype=np.float32)
        heatmap[height // 4 : height - height // 4, width // 4 : width - width // 4] = 1.0
        return Region(heatmap, 0.8)
