"""Where the annotated lesion of a question's image lies, for probes that ask whether it matters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from mmedpo.imaging.pictures import read_mask
from mmedpo.records import Example
from mmedpo.records.shapes import Mask

LESION_QUESTIONS = ("presence", "abnormality", "side", "zone", "count", "size")
"""Error types whose answer depends on the lesion."""


def about_a_lesion(example: Example) -> bool:
    """Whether a lesion of the image is annotated, and the question is of a kind that it decides."""
    return bool(example.boxes) and example.answer_type != "report" and example.error_type in LESION_QUESTIONS


def lesion_of(root: Path, example: Example) -> Mask:
    """[height, width] of the image: the annotated mask, or the boxes where it marks nothing.

    Raises:
        ImageError: as `read_mask`.
    """
    if example.mask_path is not None:
        lesion = read_mask(root, example.mask_path)
        if lesion.any() or not example.boxes:
            return lesion
    lesion = np.zeros((example.image.height, example.image.width), dtype=bool)
    for box in example.boxes:
        rows = slice(max(math.floor(box.y0), 0), max(math.ceil(box.y1), 0))
        columns = slice(max(math.floor(box.x0), 0), max(math.ceil(box.x1), 0))
        lesion[rows, columns] = True
    return lesion
