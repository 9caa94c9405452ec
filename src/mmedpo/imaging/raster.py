"""PNG, JPEG and TIFF to arrays as they should be looked at: upright, 8 bits, transparency over black."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from mmedpo.errors import ImageError
from mmedpo.imaging.formats import JPEG, PNG, TIFF
from mmedpo.records.shapes import Pixels

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the turn that makes the picture upright (CIPA DC-008, tag 0x0112)."""
MAX_SIDE = 32_768
"""Longest side: above any radiograph, below what makes one row or column of an image exhaust whatever scales it."""
_BAND = 1 << 20
"""Pixels that are converted at a time: what lies between file and picture is several times as large as both."""


class TooManyPixels(Exception):
    """A header announces more pixels than allowed."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} x {height}")


def refuse_size(width: int, height: int, max_pixels: int) -> None:
    """Raises `TooManyPixels` for what is too large as a whole or along one side."""
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise TooManyPixels(width, height)


def in_bands(values: NDArray[Any], shown: Callable[[NDArray[Any]], Pixels], channels: int = 0) -> Pixels:
    """Applies a function from pixels to pixels, some rows at a time, so that it may allocate as it likes.

    Args:
        values: `[height, width, ...]`.
        shown: rows of it to uint8 `[rows, width]` or `[rows, width, channels]`.
        channels: 0 for a grey picture.
    """
    height, width = values.shape[:2]
    picture: Pixels = np.empty((height, width, channels) if channels else (height, width), dtype=np.uint8)
    rows = max(1, _BAND // max(1, width))
    for start in range(0, height, rows):
        picture[start : start + rows] = shown(values[start : start + rows])
    return picture


class FrameNeeded(Exception):
    """A file of several frames was named without a frame, or with one it does not have."""

    def __init__(self, frames: int) -> None:
        super().__init__(f"{frames}")
        self.frames = frames


def read_raster(content: bytes, max_pixels: int, frame: int | None = None) -> Pixels:
    """PNG, JPEG or TIFF by its first bytes: files are often named with the other's suffix.

    Raises:
        TooManyPixels: before anything is allocated.
        FrameNeeded: a TIFF of several pages and no (or no such) frame.
        Exception: whatever the decoder raises for a file it cannot read.
    """
    with _open_raster(content) as image:
        _choose_page(image, frame)
        refuse_size(*image.size, max_pixels)
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        return _to_uint8(upright)


def _open_raster(content: bytes) -> Image.Image:
    # The decoders are named rather than left to `Image.open`: that would try every format Pillow knows,
    # and would print its own warning for large files before ours is raised.
    stream = io.BytesIO(content)
    if content.startswith(PNG):
        return PngImageFile(stream)
    if content.startswith(JPEG):
        return JpegImageFile(stream)
    if content.startswith(TIFF):
        return TiffImageFile(stream)
    raise ValueError("neither PNG, JPEG nor TIFF" if content else "the file is empty")


def _choose_page(image: Image.Image, frame: int | None) -> None:
    pages = image.n_frames if isinstance(image, TiffImageFile) else 1
    if (frame is None and pages > 1) or (frame is not None and frame >= pages):
        raise FrameNeeded(pages)
    if frame:
        image.seek(frame)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_uint8(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        return stretch(np.asarray(image))
    if image.mode == "F":
        return stretch(np.asarray(image), (0.0, 1.0))
    transparent = "A" in image.mode or "transparency" in image.info
    coloured = image.mode not in (("LA", "L", "1") if transparent else ("1", "L"))
    mode = "RGB" if coloured else "L"
    width, height = image.size
    picture: Pixels = np.empty((height, width, 3) if coloured else (height, width), dtype=np.uint8)
    rows = max(1, _BAND // max(1, width))
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        picture[top : top + rows] = np.asarray((_over_black(band) if transparent else band).convert(mode))
    return picture


def _over_black(band: Image.Image) -> Image.Image:
    layered = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)


def stretch(values: NDArray[np.generic], full: tuple[float, float] = (0.0, 65535.0)) -> Pixels:
    """Smallest value to 0, largest to 255; a constant image keeps its share of the `full` range.

    Raises:
        ImageError: a value is not finite.
    """
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ImageError("holds values that are not finite; replace them, or leave it out")
    if high == low:
        low, high = full
    scale = 255.0 / (high - low)
    return in_bands(values, lambda band: np.rint((band.astype(np.float64) - low) * scale).clip(0, 255).astype(np.uint8))
