"""DICOM to the picture a viewer shows: opened, decoded, shown (`display`).

Real files leave out, misspell and contradict themselves; what only touches how they are stored or shown is taken as
viewers take it (dcmtk, Cornerstone, Weasis), and what leaves the picture in doubt is refused with the tag that does.
Compressed files need a decoder: RLE and 8-bit JPEG come along, the others with `mmedpo[dicom]`.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np

from mmedpo.errors import ImageError
from mmedpo.imaging.dicom_pixels import Layout, layout_of, read_frame
from mmedpo.imaging.display import grey_picture, palette_picture
from mmedpo.imaging.formats import LONG_VRS, PREAMBLE, is_dicom
from mmedpo.imaging.raster import FrameNeeded, in_bands
from mmedpo.imaging.tags import items, text
from mmedpo.records.shapes import Pixels

DEFLATED = "1.2.840.10008.1.2.1.99"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_INFLATED = 4
"""A deflated file may grow to this many bytes per allowed pixel."""
_HEADER_BYTES = 4 << 20
_BLOCK = 1 << 20


def read_dicom(content: bytes, max_pixels: int, frame: int | None = None) -> Pixels:
    """Decodes one frame.

    Args:
        content: the file's bytes.
        max_pixels: largest rows x columns.
        frame: 0-based; None only for a file of one frame.

    Returns:
        uint8 `[height, width]` or `[height, width, 3]`.

    Raises:
        TooManyPixels, FrameNeeded: before anything is decoded.
        ImageError: no pixels, pixels that are cut off or that the header leaves in doubt, no decoder.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom tolerates in a header is no news for the user
        dataset = open_dicom(content, max_pixels * _INFLATED + _HEADER_BYTES)
        layout = layout_of(dataset, max_pixels)
        if (frame is None and layout.frames > 1) or (frame is not None and frame >= layout.frames):
            raise FrameNeeded(layout.frames)
        return _picture(_of_frame(dataset, frame or 0), layout, frame or 0)


def open_dicom(content: bytes, most_inflated: int, *, header_only: bool = False) -> Any:
    """The data set of a file, with a file meta group that says how it is encoded.

    Args:
        content: the file's bytes.
        most_inflated: a deflated file may hold at most this many bytes.
        header_only: leave out the pixels.

    Raises:
        ImageError: not DICOM, damaged beyond reading, or inflated to more than allowed.
    """
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    if not is_dicom(content):
        begins = f"begins with {content[:8]!r}" if content else "is empty"
        raise ImageError(f"is no DICOM file (it {begins}); download it again, or leave it out")
    if content[:4] == b"DICM":
        content = bytes(PREAMBLE) + content
    try:
        content = _inflated(content, most_inflated)
        dataset = dcmread(io.BytesIO(content), force=True, stop_before_pixels=header_only)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(unreadable(error)) from error
    implicit, little = dataset.original_encoding
    if not isinstance(getattr(dataset, "file_meta", None), FileMetaDataset):
        dataset.file_meta = FileMetaDataset()
    if not text(dataset.file_meta, "TransferSyntaxUID"):
        encoding = _IMPLICIT_LITTLE if implicit else _EXPLICIT_LITTLE if little else _EXPLICIT_BIG
        dataset.file_meta.TransferSyntaxUID = UID(encoding)
    return dataset


def unreadable(error: BaseException) -> str:
    """What to tell, and to do, about a file that the DICOM library gives up on."""
    what = " ".join(str(error).split())
    what = (what if len(what) <= 120 else f"{what[:117]}...") or type(error).__name__
    if isinstance(error, EOFError | struct.error):
        return f"is cut off ({what}); download it again, or leave it out"
    return f"is no readable DICOM file ({what}); if a viewer shows it, save it there as PNG, else leave it out"


def burned_in_reason(content: bytes) -> str:
    """What a header says against showing the pixels to outsiders; empty when it says nothing.

    Most files do not say: an absent tag is no promise.
    """
    header = read_header(content)
    for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        if text(header, keyword).upper() == "YES":
            return f"{keyword} = YES"
    return ""


def read_header(content: bytes) -> Any:
    """The data set without its pixels.

    Raises:
        ImageError: as `open_dicom`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_dicom(content, len(content) * 64 + _HEADER_BYTES, header_only=True)


def _inflated(content: bytes, most: int) -> bytes:
    """A deflated file as the plain one it stands for; any other as it is.

    Done here, a block at a time, because the library inflates whatever comes.
    """
    start = PREAMBLE + 4 if content[PREAMBLE : PREAMBLE + 4] == b"DICM" else 0
    if content[start : start + 2] != b"\x02\0":
        return content
    meta, syntax = _meta_group(content, start)
    if syntax != DEFLATED.encode():
        return content
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    blocks, size, packed = [], 0, content[meta:]
    while packed and not unpacker.eof:
        blocks.append(unpacker.decompress(packed, _BLOCK))
        size, packed = size + len(blocks[-1]), unpacker.unconsumed_tail
        if size > most:
            raise ImageError(f"inflates to more than {most:,} bytes; it is damaged or made to exhaust memory")
    if not unpacker.eof:
        raise ImageError("is deflated and cut off; download it again, or leave it out")
    head = content[:meta].replace(DEFLATED.encode(), _EXPLICIT_LITTLE.encode().ljust(len(DEFLATED), b"\0"), 1)
    return head + b"".join(blocks)


def _meta_group(content: bytes, start: int) -> tuple[int, bytes]:
    """Where the file meta group ends, and the transfer syntax it names; it is always explicit little endian."""
    at, syntax = start, b""
    while content[at : at + 2] == b"\x02\0":
        long = content[at + 4 : at + 6] in LONG_VRS
        head = 12 if long else 8
        length = int.from_bytes(content[at + 8 : at + 12] if long else content[at + 6 : at + 8], "little")
        if content[at + 2 : at + 4] == b"\x10\0":
            syntax = content[at + head : at + head + length].strip(b"\0 ")
        at += head + length
    return at, syntax


def _of_frame(dataset: Any, frame: int) -> Any:
    """The display tags of one frame: those of an enhanced file lie in its functional groups (PS3.3 C.7.6.16)."""
    each = items(dataset, "PerFrameFunctionalGroupsSequence")
    groups = [*items(dataset, "SharedFunctionalGroupsSequence")[:1], *each[frame : frame + 1]]
    macros = [
        macro
        for group in groups
        for keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence")
        for macro in items(group, keyword)[:1]
    ]
    if not macros:
        return dataset
    shown = type(macros[0])()
    for source in (dataset, *macros):
        shown._dict.update({tag: source.get_item(tag) for tag in source.keys() if tag.group == 0x0028})  # noqa: SIM118
    return shown


def _picture(tags: Any, layout: Layout, frame: int) -> Pixels:
    values = read_frame(layout, frame)
    if layout.photometric == "PALETTE COLOR":
        return palette_picture(tags, values, layout.little)
    if values.ndim == 3:
        return in_bands(values, lambda band: _eight_bits(band[..., :3], layout.stored.bits), channels=3)
    shown = grey_picture(tags, values, layout.stored, layout.little)
    return 255 - shown if layout.photometric == "MONOCHROME1" else shown


def _eight_bits(values: Any, bits: int) -> Pixels:
    if bits == 8:
        return np.ascontiguousarray(values).astype(np.uint8)
    scaled: Pixels = np.rint(values * (255.0 / (2**bits - 1))).clip(0, 255).astype(np.uint8)
    return scaled
