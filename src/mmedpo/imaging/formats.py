"""What a file is, by its first bytes: names and suffixes are often wrong."""

from __future__ import annotations

from mmedpo.storage.text import foreign

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUFFIXES = {PNG: ".png", JPEG: ".jpg", **dict.fromkeys(TIFF, ".tiff")}

_OTHER = (
    (b"GIF8", "a GIF picture: convert it to PNG"),
    (b"BM", "a BMP picture: convert it to PNG"),
    (b"%PDF", "a PDF document: save its picture as PNG"),
    (b"<svg", "an SVG drawing: convert it to PNG"),
    (b"\x93NUMPY", "a NumPy array: save it as PNG"),
    (b"\0\0\0\x0cjP", "a JPEG 2000 picture: convert it to PNG"),
)
PREAMBLE = 128
"""Bytes before the mark of a DICOM file (PS3.10, section 7.1)."""
_MARK = b"DICM"
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose length takes four bytes (PS3.5, section 7.1.2)."""
_VRS = LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


def raster_suffix(content: bytes) -> str:
    """Suffix of PNG, JPEG or TIFF; empty for bytes that begin as none of them. A DICOM file may begin as TIFF."""
    return next((suffix for start, suffix in _SUFFIXES.items() if content.startswith(start)), "")


def other_kind(content: bytes) -> str:
    """What a file that should be a picture really is, and what to do; empty where nothing is known."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "a WebP picture: convert it to PNG"
    if content[4:8] == b"ftyp":
        return "an HEIF or AVIF picture: convert it to PNG"
    return next((what for start, what in _OTHER if content.startswith(start)), "") or foreign(content[:512])


def image_suffix(content: bytes) -> str:
    """Suffix for a file of these bytes; that of PNG where they are of no format that is read."""
    return ".dcm" if is_dicom(content) else raster_suffix(content) or ".png"


def is_dicom(content: bytes) -> bool:
    """True when the bytes begin as a DICOM file does (PS3.10, section 7.1), or as one without its preamble."""
    return content[PREAMBLE : PREAMBLE + 4] == _MARK or content[:4] == _MARK or _begins_bare(content)


def _begins_bare(content: bytes) -> bool:
    """A file meta group, or a data set from its identifying group on, without anything before it."""
    group, length = content[:2], int.from_bytes(content[4:8], "little")
    if len(content) < 16 or group not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        return False
    explicit = content[4:6] in _VRS
    return explicit or (group != b"\0\x08" and length % 2 == 0 and length <= len(content) - 8)
