"""Image files to arrays, without trusting the file, its name or its size.

A dataset names its images itself, so a name may point anywhere and a file may hold anything. Every
refusal and every failure is one `ImageError`. A format is known by its first bytes, else by its suffix
(`_READERS`), which is where another format joins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import TypeAlias

from mmedpo.errors import ImageError
from mmedpo.imaging.formats import is_dicom, other_kind, raster_suffix
from mmedpo.imaging.perceptual import perceptual_hash
from mmedpo.imaging.raster import MAX_SIDE, FrameNeeded, TooManyPixels, read_raster
from mmedpo.records import ImageRef
from mmedpo.records.shapes import Pixels
from mmedpo.storage.paths import safe_join

Reader: TypeAlias = Callable[[bytes, int, int | None], Pixels]
"""Decodes a file's bytes; the integers are the most pixels it may allocate and the frame, None where none is named.

It raises `TooManyPixels` before it allocates more, `FrameNeeded` for an unnamed frame of several, and any
other exception for a file it cannot decode.
"""

MAX_PIXELS = 64_000_000
"""8,000 x 8,000: above any radiograph, below what exhausts a workstation."""

BYTES_PER_PIXEL = 8
"""16-bit RGBA, the widest raster that is read; no honest file needs more than this and its headers."""
_HEADER_BYTES = 4 << 20

_FRAME = re.compile(r"(.+)#frame=(\d{1,9})")
"""One frame of a multi-frame DICOM or TIFF file, counted from 0: `series.dcm#frame=12`."""


def split_frame(relative: str) -> tuple[str, int | None]:
    """(file, frame) of an image name; the frame is None where none is named."""
    found = _FRAME.fullmatch(relative)
    return (found.group(1), int(found.group(2))) if found else (relative, None)


def read_image(root: Path, relative: str, *, max_pixels: int = MAX_PIXELS, burned_in: bool = True) -> Pixels:
    """Decodes one image as it should be looked at.

    EXIF orientation is applied, so the array (and every box on it) is upright. 16-bit grey images are
    stretched from their own smallest and largest value to 0..255, because scanners fill 10 to 16 of the
    16 bits. Transparent pixels are laid over black, the background of radiographs. DICOM: `mmedpo.imaging.dicom`.

    Args:
        root: folder of the dataset.
        relative: path below it, forward slashes; `#frame=N` names one frame of several, counted from 0.
        max_pixels: largest width x height that is decoded.
        burned_in: False refuses DICOM files that say text is burned into their pixels.

    Returns:
        uint8 `[height, width]` (grey) or `[height, width, 3]` (RGB).

    Raises:
        ImageError: missing, outside the folder, unknown suffix, unreadable, truncated, too large, several
            frames and none named, or refused for burned-in text.
    """
    return _decode(_load(root, relative, max_pixels), relative, max_pixels, burned_in)


def index_image(root: Path, relative: str, *, max_pixels: int = MAX_PIXELS, burned_in: bool = True) -> ImageRef:
    """Hashes one image and decodes all its pixels, so that a truncated file is found now, not in training.

    The identity of one frame is the hash of the file's bytes and the frame's number.

    Returns:
        The reference, width and height after EXIF orientation.

    Raises:
        ImageError: as `read_image`.
    """
    content = _load(root, relative, max_pixels)
    pixels = _decode(content, relative, max_pixels, burned_in)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(content)
    frame = split_frame(relative)[1]
    if frame is not None:
        digest.update(f"#frame={frame}".encode())
    return ImageRef(
        path=PurePosixPath(relative).as_posix(),
        sha256=digest.hexdigest(),
        width=width,
        height=height,
        perceptual=perceptual_hash(pixels),
    )


def _load(root: Path, relative: str, max_pixels: int) -> bytes:
    path = safe_join(root, split_frame(relative)[0])
    limit = max_pixels * BYTES_PER_PIXEL + _HEADER_BYTES
    try:
        status = path.stat()  # once: a store in a network is asked for it
        if not S_ISREG(status.st_mode):  # reading a pipe or a device would hang
            raise ImageError(f"image {relative!r} in {root} is not a regular file; replace it by the image")
        if status.st_size > limit:
            raise ImageError(f"image {relative!r} has {status.st_size:,} bytes, allowed are {limit:,}; make it smaller")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"image {relative!r} is missing in {root}; download it again or correct its name") from error
    except (OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ImageError(f"image {relative!r} in {root} cannot be opened ({reason}); check name and rights") from error


def _decode(content: bytes, relative: str, max_pixels: int, burned_in: bool) -> Pixels:
    name, frame = split_frame(relative)
    reader = _reader(content, relative, PurePosixPath(name).suffix.lower())
    try:
        if not burned_in and reader is _dicom:
            refuse_burned_in(content)
        return reader(content, max_pixels, frame)
    except ImageError as error:
        raise ImageError(f"image {relative!r} {error}") from error
    except TooManyPixels as error:
        raise ImageError(
            f"image {relative!r} is {error} pixels, allowed are {max_pixels:,} in all "
            f"and {MAX_SIDE:,} along a side; scale it down"
        ) from error
    except FrameNeeded as error:
        raise ImageError(
            f"image {relative!r} has {error.frames} frames; name one of 0..{error.frames - 1}, as in '{name}#frame=0'"
        ) from error
    except (Exception, MemoryError) as error:
        # Decoders fail on damaged files in whatever way they happen to; all of it means "unreadable".
        what = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"image {relative!r} is unreadable or truncated ({what}); download it again") from error


def _reader(content: bytes, relative: str, suffix: str) -> Reader:
    """By the bytes where they tell, for files are often named with another's suffix, or (from a CD) with none."""
    told = "" if suffix in _DICOM or is_dicom(content) or raster_suffix(content) else other_kind(content)
    if told:
        raise ImageError(f"image {relative!r} is {told}")
    if suffix not in _READERS and not is_dicom(content):
        raise ImageError(
            f"image {relative!r} has the suffix {suffix!r}, readable are {', '.join(sorted(_READERS))}; convert it"
        )
    if is_dicom(content):  # before the others: its preamble may hold the beginning of a TIFF file
        return _dicom
    return read_raster if raster_suffix(content) else _READERS[suffix]


def _dicom(content: bytes, max_pixels: int, frame: int | None) -> Pixels:
    from mmedpo.imaging.dicom import read_dicom

    return read_dicom(content, max_pixels, frame)


def refuse_burned_in(content: bytes) -> None:
    """Raises `ImageError` when a DICOM file says that text is burned into its pixels, or a face can be recognised."""
    from mmedpo.imaging.dicom import burned_in_reason

    reason = burned_in_reason(content)
    if reason:
        raise ImageError(f"says {reason}, which restricted data must not; blank it out, or allow it by its setting")


_DICOM = (".dcm", ".dicom")
_READERS: dict[str, Reader] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff"), read_raster),
    **dict.fromkeys(_DICOM, _dicom),
}
"""Suffix (lower case) to decoder."""
