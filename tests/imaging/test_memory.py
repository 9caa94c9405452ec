"""Memory stays bounded whatever a file expands to: each of these is small, and would take gigabytes."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from imaging.dicom_files import dicom_bytes, dicom_dataset
from mmedpo.errors import ImageError
from mmedpo.imaging.codestreams import codestream_of, refuse_run_length_bomb
from mmedpo.imaging.images import read_image

_PEAK = """
import resource, sys
from pathlib import Path
from mmedpo.errors import ImageError
from mmedpo.imaging.images import index_image
import mmedpo.imaging.dicom, PIL.Image, pydicom.pixels, scipy.fft
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    said = str(index_image(Path(sys.argv[1]), sys.argv[2]))
except ImageError as error:
    said = str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
print(said)
"""


def _peak(folder: Path, name: str, content: bytes) -> tuple[int, str]:
    """Megabytes that reading a file takes, in a process of its own, and what was said of it."""
    (folder / name).write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(folder), name], capture_output=True, text=True, check=True, timeout=120
    )
    grown, said = done.stdout.splitlines()
    return int(grown), said


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _tiff(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "TIFF", compression="group4")
    return buffer.getvalue()


def _compressed(frame: bytes, syntax: str, size: tuple[int, int] = (16, 16)) -> bytes:
    dataset = dicom_dataset(np.zeros(size, dtype=np.uint8), bits=8)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dicom_bytes(dataset)


def _saved(kind: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", size).save(buffer, kind)
    return buffer.getvalue()


def _deflated(size: int) -> bytes:
    dataset = dicom_dataset(np.zeros((4, 4), dtype=np.uint16))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content = dicom_bytes(dataset)
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = [packer.compress(bytes(1 << 20)) for _ in range(size >> 20)]
    return content[:start] + b"".join(packed) + packer.flush()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("column.png", lambda: _png(1, 200_000)),
        ("row.png", lambda: _png(40_000, 1)),
        ("row.tiff", lambda: _tiff(40_000, 100)),
        ("jpeg.dcm", lambda: _compressed(_saved("JPEG", (9_000, 7_000)), JPEGBaseline8Bit)),
        ("jpeg2000.dcm", lambda: _compressed(_saved("JPEG2000", (3_000, 2_000)), JPEG2000Lossless)),
        ("deflated.dcm", lambda: _deflated(320 << 20)),
    ],
)
def test_what_would_expand_is_refused_before_it_does(tmp_path: Path, name: str, make: object) -> None:
    grown, said = _peak(tmp_path, name, make())  # type: ignore[operator]
    assert said.startswith(f"image '{name}' ")
    assert "width" not in said  # no reference was made
    limit = 400 if name == "deflated.dcm" else 60  # a deflated file may hold 4 bytes for each of 64 million pixels
    assert grown < limit


@pytest.mark.long
def test_largest_image_that_is_read_takes_a_few_times_its_pixels(tmp_path: Path) -> None:
    pixels = np.zeros((8_000, 8_000), dtype=np.uint16)
    pixels[::7, ::5] = 4_000
    grown, said = _peak(tmp_path, "a.dcm", dicom_bytes(dicom_dataset(pixels)))
    assert "8000" in said
    assert grown < 900  # the file 128 MB, its pixels 128 MB, decoded 128 MB, shown 64 MB


def test_run_length_bomb_is_counted_before_it_is_decoded() -> None:
    head = struct.pack("<16I", 1, 64, *[0] * 14)
    bomb = head + b"\x81\0" * (3 << 20)  # 6 MB for 402 MB
    stream = codestream_of(bomb)
    assert stream is not None
    assert stream.family == "RLE"
    with pytest.raises(ImageError, match="expands to more than"):
        refuse_run_length_bomb(bomb, 1_000_000)
    refuse_run_length_bomb(head + (b"\xff\0" * (3 << 20)), 6 << 20)  # honest: two for two
    with pytest.raises(ImageError):
        refuse_run_length_bomb(head + (b"\x7f" + bytes(128)) * 40_000, 1_000_000)  # literal runs count too


def test_run_length_bomb_in_a_file(tmp_path: Path) -> None:
    bomb = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * (3 << 20)
    (tmp_path / "a.dcm").write_bytes(_compressed(bomb, RLELossless))
    with pytest.raises(ImageError, match="expands to more than"):
        read_image(tmp_path, "a.dcm")


@pytest.mark.parametrize("kind", ["JPEG", "JPEG2000"])
def test_size_is_read_from_the_codestream(kind: str) -> None:
    stream = codestream_of(_saved(kind, (123, 45)))
    assert stream is not None
    assert (stream.columns, stream.rows, stream.samples) == (123, 45, 1)
    for end in range(0, 60):
        codestream_of(_saved(kind, (123, 45))[:end])  # a cut header is no error
