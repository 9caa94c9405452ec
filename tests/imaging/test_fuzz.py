"""Mutated image files end in one `ImageError` or in a picture: never a traceback, a warning, or a dead process."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imaging.dicom_files import dicom_bytes, dicom_dataset
from imaging.garbled import garbled
from mmedpo.errors import ImageError
from mmedpo.imaging.deidentify import deidentify
from mmedpo.imaging.images import index_image

PIXELS = np.random.default_rng(0).integers(0, 4096, (12, 14), dtype=np.uint16)


def _raster(kind: str) -> bytes:
    buffer = io.BytesIO()
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    Image.fromarray((PIXELS >> 4).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


GOOD = {
    "a.png": _raster("PNG"),
    "a.jpg": _raster("JPEG"),
    "a.tif": _raster("TIFF"),
    "a.dcm": dicom_bytes(dicom_dataset(PIXELS, WindowCenter=2048, WindowWidth=4096)),
}


def _survives(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    for burned_in in (True, False):
        try:
            assert index_image(folder, name, max_pixels=100_000, burned_in=burned_in).width > 0
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 400  # noqa: PT017
    if name.endswith(".dcm"):
        try:
            deidentify(content, "salt")
        except ImageError as error:
            assert "\n" not in str(error)  # noqa: PT017


def _damaged(good: bytes, data: st.DataObject) -> bytes:
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 5))):
        start = data.draw(st.integers(0, max(0, len(content) - 1)))
        kind = data.draw(st.integers(0, 3))
        if kind == 0:
            content[start:start] = data.draw(st.binary(max_size=8))
        elif kind == 1:
            del content[start : start + data.draw(st.integers(1, 30))]
        elif kind == 2 and content:
            content[start] = data.draw(st.integers(0, 255))
        else:
            content = content[:start]
    return bytes(content)


@given(st.data())
@settings(max_examples=80, deadline=5000, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("name", GOOD)
def test_mutated_generated_files(name: str, tmp_path: Path, data: st.DataObject) -> None:
    _survives(tmp_path, name, _damaged(GOOD[name], data))


@given(st.data())
@settings(max_examples=80, deadline=5000, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("sample", ["JPEG2000.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd.dcm", "ExplVR_BigEnd.dcm"])
def test_mutated_real_dicom_files(sample: str, shared_data: Path, tmp_path: Path, data: st.DataObject) -> None:
    _survives(tmp_path, "a.dcm", _damaged((shared_data / "dicom" / sample).read_bytes(), data))


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_garbled_tags_of_a_generated_file(tmp_path: Path, seed: int) -> None:
    content = dicom_bytes(dicom_dataset(PIXELS, WindowCenter=2048, WindowWidth=4096))
    _survives_garbling(tmp_path, content, random.Random(seed))


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_garbled_tags_of_real_files(shared_data: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    file = rng.choice(sorted((shared_data / "dicom").glob("*.dcm")))
    _survives_garbling(tmp_path, file.read_bytes(), rng)


def _survives_garbling(folder: Path, content: bytes, rng: random.Random) -> None:
    try:
        wrong = garbled(content, rng)
    except Exception:  # what the library that writes the test's file will not write
        return
    _survives(folder, "a.dcm", wrong)
