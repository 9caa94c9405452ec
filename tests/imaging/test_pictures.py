"""PNG, masks, and single files: one writer, one reader."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.errors import ImageError
from mmedpo.imaging.formats import image_suffix
from mmedpo.imaging.images import MAX_PIXELS, read_image
from mmedpo.imaging.pictures import png_bytes, read_image_file, read_mask


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_gives_the_pixels_back_and_the_same_bytes_again(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png_bytes(pixels))
    np.testing.assert_array_equal(read_image(tmp_path, "a.png"), pixels)
    np.testing.assert_array_equal(read_image_file(tmp_path / "a.png"), pixels)
    assert png_bytes(pixels) == png_bytes(pixels.copy())
    assert len(png_bytes(pixels, smallest=True)) <= len(png_bytes(pixels))


def test_png_bytes_do_not_depend_on_pillow_s_spelling_of_its_defaults() -> None:
    pixels = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    plain, six = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels).save(plain, "PNG")
    Image.fromarray(pixels).save(six, "PNG", compress_level=6)
    assert png_bytes(pixels) == plain.getvalue() == six.getvalue()


def test_scaled_down_to_the_longest_side_and_never_up() -> None:
    pixels = np.zeros((40, 20), dtype=np.uint8)
    assert Image.open(io.BytesIO(png_bytes(pixels, longest_side=10))).size == (5, 10)
    assert Image.open(io.BytesIO(png_bytes(pixels, longest_side=100))).size == (20, 40)


def test_mask_is_whatever_is_not_black(tmp_path: Path) -> None:
    colours = np.array([[[0, 0, 0], [0, 0, 1], [9, 0, 0]]], dtype=np.uint8)
    (tmp_path / "colour.png").write_bytes(png_bytes(colours))
    (tmp_path / "grey.png").write_bytes(png_bytes(np.array([[0, 1, 255]], dtype=np.uint8)))
    for name in ("colour.png", "grey.png"):
        assert read_mask(tmp_path, name).tolist() == [[False, True, True]]


def test_a_mask_s_values_part_what_it_marks(tmp_path: Path) -> None:
    colours = np.array([[[0, 0, 0], [3, 3, 3], [7, 1, 1], [9, 7, 3]]], dtype=np.uint8)
    (tmp_path / "grey.png").write_bytes(png_bytes(np.array([[0, 3, 7, 9]], dtype=np.uint8)))
    (tmp_path / "colour.png").write_bytes(png_bytes(colours))
    for name in ("colour.png", "grey.png"):
        assert read_mask(tmp_path, f"{name}#values=3+7").tolist() == [[False, True, True, False]]
    for faulty in ("", "x", "3+", "-1", "3,7"):
        with pytest.raises(ImageError, match="names no values; allowed: #values=N"):
            read_mask(tmp_path, f"grey.png#values={faulty}")


def test_suffix_is_that_of_the_content() -> None:
    for kind, suffix in (("PNG", ".png"), ("JPEG", ".jpg"), ("TIFF", ".tiff")):
        buffer = io.BytesIO()
        Image.new("L", (2, 2)).save(buffer, kind)
        assert image_suffix(buffer.getvalue()) == suffix
    assert image_suffix(bytes(128) + b"DICM") == ".dcm"
    assert image_suffix(b"?") == ".png"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "1"])
def test_pictures_of_several_bands_are_what_they_are_as_a_whole(tmp_path: Path, mode: str) -> None:
    """Conversion in bands of rows changes no pixel."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (700, 2000, 4), dtype=np.uint8), "RGBA").convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    image.save(tmp_path / f"a.{kind.lower()}", kind)
    image = Image.open(tmp_path / f"a.{kind.lower()}")
    layered = image.convert("RGBA")
    transparent = "A" in mode or "transparency" in image.info
    flat = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), layered) if transparent else image
    expected = np.asarray(flat.convert("L" if mode in ("LA", "1") else "RGB"))
    np.testing.assert_array_equal(read_image(tmp_path, f"a.{kind.lower()}"), expected)
    assert 700 * 2000 > 1 << 20  # more than one band
    assert MAX_PIXELS > 700 * 2000
