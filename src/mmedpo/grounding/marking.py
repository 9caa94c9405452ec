"""From what an annotation file says to the lesion's pixels: boxes, outlines, mask pictures, DICOM segmentations."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmedpo.errors import GroundingError, ImageError
from mmedpo.grounding.annotations import Marked
from mmedpo.grounding.regions import boxes_mask
from mmedpo.imaging.images import MAX_PIXELS, read_image
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.storage.paths import safe_join

SAME_SHAPE = 1.02
"""Largest ratio of the two scales between the annotated and the actual picture."""


def open_marked(root: Path, row: Marked) -> Pixels:
    """The image an annotation speaks of, below `root`.

    Raises:
        GroundingError: it cannot be read, or lies outside.
    """
    try:
        return read_image(root, row.file)
    except ImageError as error:
        raise GroundingError(str(error)) from error


def scaled_boxes(row: Marked, height: int, width: int, boxes: Sequence[Box] | None = None) -> tuple[Box, ...]:
    """The boxes of its lesions, or those given, in pixels of an image of that size.

    Raises:
        GroundingError: the boxes were drawn on a picture of another shape.
    """
    across, down = _scales(row, height, width)
    return tuple(
        Box(x0=box.x0 * across, y0=box.y0 * down, x1=box.x1 * across, y1=box.y1 * down, label=box.label)
        for box in (row.boxes if boxes is None else boxes)
    )


def lesion_mask(row: Marked, height: int, width: int, root: Path) -> Mask:
    """What is marked, bool [height, width]: the mask file, else outlines, run-length masks and boxes without either.

    Args:
        root: folder that mask files are relative to.

    Raises:
        GroundingError: a mask that cannot be read or has another size, or boxes on another picture.
    """
    if row.mask:
        return read_mask_file(root, row.mask, height, width)
    bare = [box for box in row.boxes if box not in row.outlined]
    lesion = boxes_mask(scaled_boxes(row, height, width, bare), height, width)
    for runs in row.runs:
        if (runs.height, runs.width) != (height, width):
            raise GroundingError(
                f"{row.file}: its run-length mask has shape {[runs.height, runs.width]}, the image {[height, width]}; "
                "both must agree"
            )
        lesion |= runs.mask()
    return lesion | _filled(row, height, width) if row.polygons else lesion


def _filled(row: Marked, height: int, width: int) -> Mask:
    """The outlines, filled."""
    across, down = _scales(row, height, width)
    canvas = Image.new("1", (width, height))
    for outline in row.polygons:
        if len(outline) < 6 or len(outline) % 2:
            raise GroundingError(
                f"{row.file}: an outline has {len(outline)} numbers; allowed: x, y of three points or more"
            )
        points = [(x * across, y * down) for x, y in zip(outline[::2], outline[1::2], strict=True)]
        ImageDraw.Draw(canvas).polygon(points, fill=1, outline=1)
    return np.asarray(canvas, dtype=bool)


def read_mask_file(root: Path, relative: str, height: int, width: int) -> Mask:
    """A mask picture (any value above 0) or a DICOM segmentation (all its segments), bool [height, width].

    Raises:
        GroundingError: unreadable, outside the folder, of another size, or a segmentation of several images.
    """
    try:
        if Path(relative).suffix.lower() == ".dcm":
            mask = _segmentation(safe_join(root, relative).read_bytes(), relative)
        else:
            picture = read_image(root, relative)
            mask = (picture if picture.ndim == 2 else picture.max(axis=2)) > 0
    except (ImageError, OSError) as error:
        raise GroundingError(f"mask of the annotations: {error}") from error
    if mask.shape != (height, width):
        raise GroundingError(
            f"mask {relative!r} has shape {list(mask.shape)}, its image {[height, width]}; both must agree"
        )
    return mask


def _segmentation(content: bytes, name: str) -> Mask:
    """Union of the segments of a DICOM-SEG object that speaks of one image (PS3.3 A.51)."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom tolerates in a header is no news for the user
        try:
            dataset = pydicom.dcmread(io.BytesIO(content))
            if dataset.get("Modality") != "SEG":
                raise GroundingError(
                    f"mask {name!r} has modality {dataset.get('Modality')!r}; allowed: SEG, or a picture"
                )
            frames, rows, columns = int(dataset.get("NumberOfFrames", 1)), int(dataset.Rows), int(dataset.Columns)
            if frames * rows * columns > MAX_PIXELS:
                raise GroundingError(
                    f"mask {name!r} has {frames} frames of {columns} x {rows}; allowed: {MAX_PIXELS:,} pixels"
                )
            segments = {int(item.SegmentNumber) for item in dataset.SegmentSequence}
            if frames > len(segments):
                raise GroundingError(
                    f"mask {name!r} has {frames} frames for {len(segments)} segments, so it speaks of several images; "
                    "give one file per image"
                )
            pixels = np.asarray(dataset.pixel_array).reshape(frames, rows, columns)
        except GroundingError:
            raise
        except Exception as error:
            # pydicom fails on damaged files in whatever way it happens to; all of it means "unreadable".
            raise GroundingError(
                f"mask {name!r} is not a readable segmentation ({type(error).__name__}); "
                "give a DICOM-SEG object of one image, or a picture"
            ) from error
    return np.asarray((pixels > 0).any(axis=0))


def _scales(row: Marked, height: int, width: int) -> tuple[float, float]:
    across, down = width / (row.width or width), height / (row.height or height)
    if max(across, down) > SAME_SHAPE * min(across, down):
        raise GroundingError(
            f"{row.file}: boxes are drawn on {row.width} x {row.height} pixels, the image has {width} x {height}; "
            "both must have the same shape"
        )
    return across, down
