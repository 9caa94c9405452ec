"""PNG, JPEG and TIFF to arrays as they should be looked at: upright, 8 bits, transparency over black."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

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
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class TooManyPixels(Exception):
    """A header announces more pixels than allowed."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} x {height}")


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
        width, height = image.size
        if width * height > max_pixels:
            raise TooManyPixels(width, height)
        image.load()
        turn = _UPRIGHT.get(_orientation(image))
        upright = image if turn is None else image.transpose(turn)
        return _to_uint8(upright)


def _open_raster(content: bytes) -> Image.Image:
    # The decoders are named rather than left to `Image.open`: that would try every format Pillow knows,
    # and would print its own warning for large files before ours is raised.
    stream = io.BytesIO(content)
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile(stream)
    if content.startswith(b"\xff\xd8\xff"):
        return JpegImageFile(stream)
    if content.startswith(_TIFF):
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
    if "A" in image.mode or "transparency" in image.info:
        coloured = image.mode not in ("LA", "L", "1")
        layered = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
        return np.array(flat.convert("RGB" if coloured else "L"), dtype=np.uint8)
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"), dtype=np.uint8)


def stretch(values: NDArray[np.generic], full: tuple[float, float] = (0.0, 65535.0)) -> Pixels:
    """Smallest value to 0, largest to 255; a constant image keeps its share of the `full` range.

    Raises:
        ValueError: a value is not finite.
    """
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("it holds values that are not finite")
    if high == low:
        low, high = full
    scaled: Pixels = np.rint((wide - low) * (255.0 / (high - low))).clip(0, 255).astype(np.uint8)
    return scaled
