"""What a file is, by its first bytes: names and suffixes are often wrong."""

from __future__ import annotations

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SUFFIXES = {PNG: ".png", JPEG: ".jpg", **dict.fromkeys(TIFF, ".tiff")}

PREAMBLE = 128
"""Bytes before the mark of a DICOM file (PS3.10, section 7.1)."""
_MARK = b"DICM"
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose length takes four bytes (PS3.5, section 7.1.2)."""
_VRS = LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())


def raster_suffix(content: bytes) -> str:
    """Suffix of PNG, JPEG or TIFF; empty for bytes that begin as none of them. A DICOM file may begin as TIFF."""
    return next((suffix for start, suffix in _SUFFIXES.items() if content.startswith(start)), "")


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
