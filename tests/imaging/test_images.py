"""Images: what is decoded, and that everything else is one clear `ImageError`."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.errors import ImageError
from mmedpo.imaging.images import index_image, read_image
from mmedpo.storage.paths import safe_join


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width), dtype=np.uint8)


def _png(path: Path, image: Image.Image, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG", **options)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing: the shape of a decompression bomb."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def test_grey_png_comes_back_pixel_for_pixel(tmp_path: Path) -> None:
    pixels = _noise(5, 7)
    _png(tmp_path / "sub" / "a.PNG", Image.fromarray(pixels))
    np.testing.assert_array_equal(read_image(tmp_path, "sub/a.PNG"), pixels)


def test_index_gives_hash_of_the_bytes_and_size_of_the_picture(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", Image.fromarray(_noise(5, 7)))
    ref = index_image(tmp_path, "./a.png")
    assert (ref.path, ref.width, ref.height) == ("a.png", 7, 5)
    assert ref.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


def test_16_bit_png_is_stretched_over_its_own_range(tmp_path: Path) -> None:
    # A 12-bit scanner: 1000..3040, so 2040 steps onto 255: eight to one.
    _png(tmp_path / "a.png", Image.fromarray(np.array([[1000, 1008, 1800, 3040]], dtype=np.uint16)))
    np.testing.assert_array_equal(read_image(tmp_path, "a.png"), [[0, 1, 100, 255]])


def test_constant_16_bit_png_keeps_its_share_of_the_full_range(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", Image.fromarray(np.full((2, 2), 257 * 51, dtype=np.uint16)))
    np.testing.assert_array_equal(read_image(tmp_path, "a.png"), np.full((2, 2), 51))


def test_exif_orientation_turns_the_picture_and_its_size(tmp_path: Path) -> None:
    upright = np.zeros((16, 32), dtype=np.uint8)
    upright[:8, :8] = 255  # a marker at the top left
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side: a viewer turns by 90 degrees clockwise
    stored = Image.fromarray(np.rot90(upright))
    stored.save(tmp_path / "a.jpg", quality=100, exif=exif)
    seen = read_image(tmp_path, "a.jpg").astype(int)
    assert np.abs(seen - upright).max() < 20
    ref = index_image(tmp_path, "a.jpg")
    assert (ref.width, ref.height) == (32, 16)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_agrees_with_the_standard(tmp_path: Path, orientation: int) -> None:
    """Row 0 and column 0 of the stored picture lie where CIPA DC-008 (tag 0x0112) puts them."""
    upright = _noise(3, 5)
    stored = {
        1: upright,  # row 0 top, column 0 left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.T,  # row 0 is the left side, column 0 the top
        6: upright[:, ::-1].T,  # row 0 right, column 0 top
        7: upright[::-1, ::-1].T,  # right, bottom
        8: upright[::-1].T,  # left, bottom
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    _png(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path, "a.png"), upright)


def test_palette_becomes_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    _png(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path, "a.png"), [[[10, 20, 30], [200, 100, 0]]])


def test_transparent_pixels_are_black_whatever_colour_they_hide(tmp_path: Path) -> None:
    rgba = np.array([[[255, 255, 255, 0], [255, 200, 0, 255]]], dtype=np.uint8)
    _png(tmp_path / "a.png", Image.fromarray(rgba))
    np.testing.assert_array_equal(read_image(tmp_path, "a.png"), [[[0, 0, 0], [255, 200, 0]]])


def test_grey_with_alpha_and_bilevel_stay_grey(tmp_path: Path) -> None:
    _png(tmp_path / "la.png", Image.fromarray(np.array([[[200, 255], [200, 0]]], dtype=np.uint8)))
    np.testing.assert_array_equal(read_image(tmp_path, "la.png"), [[200, 0]])
    _png(tmp_path / "one.png", Image.fromarray(np.array([[True, False]])))
    np.testing.assert_array_equal(read_image(tmp_path, "one.png"), [[255, 0]])


def test_png_named_jpg_is_read(tmp_path: Path) -> None:
    pixels = _noise(4, 4)
    _png(tmp_path / "a.jpg", Image.fromarray(pixels))
    np.testing.assert_array_equal(read_image(tmp_path, "a.jpg"), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_truncated_file_is_found_when_indexed(tmp_path: Path, suffix: str, share: float) -> None:
    buffer = io.BytesIO()
    Image.fromarray(_noise(64, 64)).save(buffer, "JPEG" if suffix == "jpg" else "PNG")
    content = buffer.getvalue()
    (tmp_path / f"a.{suffix}").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match="unreadable or truncated"):
        index_image(tmp_path, f"a.{suffix}")


@pytest.mark.parametrize("content", [b"", b"Not found", b"\xff\xd8\xff\xe0junk", b"\x89PNG"])
def test_what_is_no_image_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=r"'a\.jpg' is unreadable") as error:
        read_image(tmp_path, "a.jpg")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("size", [(60_000, 60_000), (9_500, 9_500), (8_001, 8_000)])
def test_bomb_is_refused_by_its_header(tmp_path: Path, size: tuple[int, int], recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "bomb.png").write_bytes(_png_header(*size))
    with pytest.raises(ImageError, match=rf"{size[0]} x {size[1]} pixels, allowed are 64,000,000"):
        read_image(tmp_path, "bomb.png")
    assert not recwarn.list


def test_limit_on_pixels_is_inclusive(tmp_path: Path) -> None:
    _png(tmp_path / "a.png", Image.fromarray(_noise(4, 5)))
    assert read_image(tmp_path, "a.png", max_pixels=20).shape == (4, 5)
    with pytest.raises(ImageError, match="5 x 4 pixels"):
        read_image(tmp_path, "a.png", max_pixels=19)


def test_huge_file_is_not_even_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as handle:
        handle.truncate(6 << 20)  # sparse: 6 MiB where 100 pixels are allowed
    with pytest.raises(ImageError, match="6,291,456 bytes"):
        read_image(tmp_path, "a.png", max_pixels=100)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a/../../x.png", "..", "", "C:/x.png", "..\\x.png", "a\0.png", "\ud800.png"],
)
def test_names_that_point_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError):
        safe_join(tmp_path, name)
    with pytest.raises(ImageError):
        read_image(tmp_path, name)


def test_link_out_of_the_folder_is_refused_and_link_inside_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    _png(root / "real.png", Image.fromarray(_noise(2, 2)))
    _png(tmp_path / "secret.png", Image.fromarray(_noise(2, 2)))
    (root / "inside.png").symlink_to("real.png")
    (root / "outside.png").symlink_to(tmp_path / "secret.png")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop.png").symlink_to("loop.png")
    assert safe_join(root, "inside.png") == (root / "real.png").resolve()
    for name in ("outside.png", "folder/secret.png"):
        with pytest.raises(ImageError, match="leaves"):
            read_image(root, name)
    with pytest.raises(ImageError):
        read_image(root, "loop.png")


def test_sibling_folder_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    _png(tmp_path / "root-2" / "a.png", Image.fromarray(_noise(2, 2)))
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a.png").symlink_to(tmp_path / "root-2" / "a.png")
    with pytest.raises(ImageError, match="leaves"):
        read_image(tmp_path / "root", "a.png")


def test_missing_folder_pipe_and_unknown_suffix_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"'no\.png' is missing"):
        read_image(tmp_path, "no.png")
    (tmp_path / "dir.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("dir.png", "pipe.png"):
        with pytest.raises(ImageError, match="not a regular file"):
            read_image(tmp_path, name)
    (tmp_path / "a.gif").write_bytes(b"unknown")
    with pytest.raises(ImageError, match=r"suffix '\.gif', readable are \.dcm, \.dicom, \.jpeg, \.jpg, \.png"):
        read_image(tmp_path, "a.gif")


def test_name_too_long_for_the_file_system_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        read_image(tmp_path, "a" * 5000 + ".png")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GIF89a", "a GIF picture: convert"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture: convert"),
        (b"\0\0\0\x18ftypheic", "an HEIF or AVIF picture: convert"),
        (b"%PDF-1.7", "a PDF document: save"),
        (b"<!DOCTYPE html><p>404", "a web page: download the file itself"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x1f\x8b\x08", "a gzip archive: unpack it"),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_what_is_no_picture_is_told_with_what_helps(tmp_path: Path, content: bytes, words: str, name: str) -> None:
    (tmp_path / name).write_bytes(content + bytes(40))
    with pytest.raises(ImageError, match=words) as caught:
        read_image(tmp_path, name)
    assert "again" not in str(caught.value)
