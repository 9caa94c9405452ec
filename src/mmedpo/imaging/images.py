"""Image files to arrays, without trusting the file, its name or its size.

A dataset names its images itself, so a name may point anywhere and a file may hold anything. Every
refusal and every failure is one `ImageError`. Formats are chosen by suffix (`_READERS`), which is
where another format joins.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from mmedpo.errors import ImageError
from mmedpo.records import ImageRef

Pixels: TypeAlias = NDArray[np.uint8]
"""`[height, width]` (grey) or `[height, width, 3]` (RGB), 0..255."""

Reader: TypeAlias = Callable[[bytes, int], Pixels]
"""Decodes a file's bytes; the integer is the largest number of pixels it may allocate.

It raises `TooManyPixels` before it allocates more, and any other exception for a file it cannot decode.
"""

MAX_PIXELS = 64_000_000
"""8,000 x 8,000: above any radiograph, below what exhausts a workstation."""

_BYTES_PER_PIXEL = 8
"""16-bit RGBA, the widest raster that is read; no honest file needs more than this and its headers."""
_HEADER_BYTES = 4 << 20

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


class TooManyPixels(Exception):
    """A header announces more pixels than allowed."""

    def __init__(self, width: int, height: int) -> None:
        super().__init__(f"{width} x {height}")


def safe_join(root: Path, relative: str) -> Path:
    """The real path of `relative` below `root`, links followed.

    Raises:
        ImageError: `relative` is empty, absolute, holds `..` or a backslash, or leaves `root` through a link.
    """
    fix = f"name it relative to {root}, with forward slashes and without '..'"
    if not relative or "\0" in relative:
        raise ImageError(f"image name {relative!r} is empty or holds a null byte; {fix}")
    if "\\" in relative or PurePosixPath(relative).is_absolute() or PureWindowsPath(relative).drive:
        raise ImageError(f"image {relative!r} is not a relative path; {fix}")
    if ".." in PurePosixPath(relative).parts:
        raise ImageError(f"image {relative!r} lies outside {root}; {fix}")
    try:
        base = root.resolve()
        path = (base / relative).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        # A loop of links is a RuntimeError before Python 3.13; a name the file system cannot spell is a ValueError.
        raise ImageError(f"image {relative!r} cannot be followed ({type(error).__name__}); {fix}") from error
    if not path.is_relative_to(base):
        raise ImageError(f"image {relative!r} is a link that leaves {root}; copy the file into the folder")
    return path


def read_image(root: Path, relative: str, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decodes one image as it should be looked at.

    EXIF orientation is applied, so the array (and every box on it) is upright. 16-bit grey images are
    stretched from their own smallest and largest value to 0..255, because scanners fill 10 to 16 of the
    16 bits. Transparent pixels are laid over black, the background of radiographs.

    Args:
        root: folder of the dataset.
        relative: path below it, forward slashes.
        max_pixels: largest width x height that is decoded.

    Returns:
        uint8 `[height, width]` (grey) or `[height, width, 3]` (RGB).

    Raises:
        ImageError: missing, outside the folder, unknown suffix, unreadable, truncated, or too large.
    """
    return _decode(_load(root, relative, max_pixels), relative, max_pixels)


def index_image(root: Path, relative: str, *, max_pixels: int = MAX_PIXELS) -> ImageRef:
    """Hashes one image and decodes all its pixels, so that a truncated file is found now, not in training.

    Returns:
        The reference, width and height after EXIF orientation.

    Raises:
        ImageError: as `read_image`.
    """
    content = _load(root, relative, max_pixels)
    height, width = _decode(content, relative, max_pixels).shape[:2]
    digest = hashlib.sha256(content).hexdigest()
    return ImageRef(path=PurePosixPath(relative).as_posix(), sha256=digest, width=width, height=height)


def _load(root: Path, relative: str, max_pixels: int) -> bytes:
    path = safe_join(root, relative)
    limit = max_pixels * _BYTES_PER_PIXEL + _HEADER_BYTES
    try:
        if not path.exists():
            raise ImageError(f"image {relative!r} is missing in {root}; download it again or correct its name")
        if not path.is_file():  # reading a pipe or a device would hang
            raise ImageError(f"image {relative!r} in {root} is not a regular file; replace it by the image")
        size = path.stat().st_size
        if size > limit:
            raise ImageError(f"image {relative!r} has {size:,} bytes, allowed are {limit:,}; make it smaller")
        return path.read_bytes()
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ImageError(f"image {relative!r} in {root} cannot be opened ({reason}); check name and rights") from error


def _decode(content: bytes, relative: str, max_pixels: int) -> Pixels:
    suffix = PurePosixPath(relative).suffix.lower()
    reader = _READERS.get(suffix)
    if reader is None:
        known = ", ".join(sorted(_READERS))
        raise ImageError(f"image {relative!r} has the suffix {suffix!r}, readable are {known}; convert it")
    try:
        return reader(content, max_pixels)
    except TooManyPixels as error:
        raise ImageError(
            f"image {relative!r} is {error} pixels, allowed are {max_pixels:,} in all; scale it down"
        ) from error
    except Exception as error:
        # Decoders fail on damaged files in whatever way they happen to; all of it means "unreadable".
        what = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"image {relative!r} is unreadable or truncated ({what}); download it again") from error


def _read_raster(content: bytes, max_pixels: int) -> Pixels:
    """PNG or JPEG by its first bytes: files are often named with the other's suffix."""
    with _open_raster(content) as image:
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
    raise ValueError("neither PNG nor JPEG" if content else "the file is empty")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _to_uint8(image: Image.Image) -> Pixels:
    if image.mode.startswith("I"):
        return _stretch(np.asarray(image))
    if "A" in image.mode or "transparency" in image.info:
        coloured = image.mode not in ("LA", "L", "1")
        layered = image.convert("RGBA")
        flat = Image.alpha_composite(Image.new("RGBA", layered.size, (0, 0, 0, 255)), layered)
        return np.array(flat.convert("RGB" if coloured else "L"), dtype=np.uint8)
    return np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"), dtype=np.uint8)


def _stretch(values: NDArray[np.generic]) -> Pixels:
    """Smallest value to 0, largest to 255; a constant image keeps its share of the 16-bit range."""
    wide = values.astype(np.float64)
    low, high = float(wide.min()), float(wide.max())
    if high == low:
        low, high = 0.0, 65535.0
    scaled: Pixels = np.rint((wide - low) * (255.0 / (high - low))).clip(0, 255).astype(np.uint8)
    return scaled


_READERS: dict[str, Reader] = {".png": _read_raster, ".jpg": _read_raster, ".jpeg": _read_raster}
"""Suffix (lower case) to decoder."""
