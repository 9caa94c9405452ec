"""What a compressed frame says of itself: its kind and its size, before a decoder sees it."""

from __future__ import annotations

from typing import NamedTuple

from pydicom.uid import (
    JPEG2000,
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    RLETransferSyntaxes,
)

from mmedpo.errors import ImageError

FAMILIES: dict[str, list[UID]] = {
    "JPEG": JPEGTransferSyntaxes,
    "JPEG-LS": JPEGLSTransferSyntaxes,
    "JPEG 2000": JPEG2000TransferSyntaxes,
    "RLE": RLETransferSyntaxes,
}
_MOST_SEGMENTS = 15
_LONGEST_RUN = 128
_UNCHECKED = 4 << 20
"""Run-length coded bytes that stay within a few hundred MB whatever they hold."""


class Codestream(NamedTuple):
    """A compressed frame, as its own header describes it."""

    family: str
    syntax: UID
    """A transfer syntax of the family that reads it."""
    columns: int
    rows: int
    samples: int
    """0 where it does not say (run-length coding)."""
    lossy: bool


def codestream_of(frame: bytes) -> Codestream | None:
    """The header of a compressed frame; None for what is none of the known kinds."""
    if frame[:3] == b"\xff\xd8\xff":
        return _jpeg(frame)
    if frame[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000(frame)
    if frame[4:8] == b"jP  " and (start := frame.find(b"\xff\x4f\xff\x51", 0, 4096)) > 0:
        return _jpeg2000(frame[start:])
    segments = int.from_bytes(frame[:4], "little")
    if len(frame) >= 64 and 1 <= segments <= _MOST_SEGMENTS and frame[4:8] == b"\x40\0\0\0":
        return Codestream("RLE", RLELossless, 0, 0, 0, lossy=False)
    return None


def refuse_run_length_bomb(frame: bytes, expected: int) -> None:
    """Refuses run-length coded bytes (PS3.5 annex G) that expand to more than twice what a frame takes."""
    if len(frame) <= _UNCHECKED:
        return
    at, size, most = 64, 0, 2 * expected + 1024
    while at < len(frame) and size <= most:
        run = frame[at]
        literal = run < _LONGEST_RUN
        size += run + 1 if literal else 257 - run if run > _LONGEST_RUN else 0
        at += run + 2 if literal else 2 if run > _LONGEST_RUN else 1
    if size > most:
        raise ImageError(f"expands to more than {most:,} bytes, its frame takes {expected:,}; it is damaged")


def _jpeg(frame: bytes) -> Codestream | None:
    """The frame header (SOF) of JPEG and JPEG-LS."""
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if marker == 0xFF:
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns = (int.from_bytes(frame[at + place : at + place + 2], "big") for place in (5, 7))
            family, syntax = ("JPEG-LS", JPEGLSNearLossless) if marker == 0xF7 else ("JPEG", _jpeg_syntax(marker))
            return Codestream(family, syntax, columns, rows, frame[at + 9], lossy=marker not in (0xC3, 0xF7))
        at += 2 + length
    return None


def _jpeg_syntax(marker: int) -> UID:
    return {0xC0: JPEGBaseline8Bit, 0xC3: JPEGLosslessSV1}.get(marker, JPEGExtended12Bit)


def _jpeg2000(frame: bytes) -> Codestream | None:
    """The SIZ marker of JPEG 2000."""
    if len(frame) < 42:
        return None
    right, bottom, left, top = (int.from_bytes(frame[at : at + 4], "big") for at in (8, 12, 16, 20))
    return Codestream(
        "JPEG 2000", JPEG2000, right - left, bottom - top, int.from_bytes(frame[40:42], "big"), lossy=False
    )
