"""The same picture under other bytes is found, another picture is not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmedpo.imaging.images import index_image
from mmedpo.imaging.index import index_images
from mmedpo.imaging.perceptual import NEAR, near_pairs, perceptual_hash


def _picture(seed: int) -> np.ndarray:
    """Smooth blobs, as radiographs are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (20, 16), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((320, 400), Image.Resampling.BICUBIC))


def _distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def _jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize(
    "change",
    [
        lambda p: _jpeg(p, 40),
        lambda p: np.asarray(Image.fromarray(p).resize((160, 200))),
        lambda p: (p * 0.8 + 20).astype(np.uint8),
        lambda p: np.stack([p] * 3, axis=2),
    ],
    ids=["jpeg", "half", "brightness", "rgb"],
)
def test_changed_copy_stays_near_and_another_picture_far(change) -> None:
    for seed in range(5):
        original = perceptual_hash(_picture(seed))
        assert _distance(original, perceptual_hash(change(_picture(seed)))) <= NEAR
        assert _distance(original, perceptual_hash(_picture(seed + 100))) > 2 * NEAR


def test_featureless_pictures_equal_nothing() -> None:
    black, grey = perceptual_hash(np.zeros((50, 50), np.uint8)), perceptual_hash(np.full((9, 9), 130, np.uint8))
    assert black == grey == ""
    assert near_pairs([black, grey], [black, grey]) == []


def test_near_pairs_agree_with_a_plain_double_loop() -> None:
    rng = np.random.default_rng(0)
    left = [rng.bytes(32) for _ in range(700)]
    right = [
        bytes(np.frombuffer(left[n], np.uint8) ^ rng.integers(0, 2, 32).astype(np.uint8)) for n in range(0, 700, 7)
    ]
    a, b = [x.hex() for x in left], [x.hex() for x in right]
    a[3] = b[5] = ""
    plain = [(i, j) for i, x in enumerate(a) for j, y in enumerate(b) if x and y and _distance(x, y) <= 16]
    assert sorted(near_pairs(a, b, most=16)) == plain
    assert 10 < len(plain) < 90


def test_real_images_are_all_different(shared_data: Path, decoded_once: None) -> None:
    root = shared_data / "vqa_rad" / "images"
    looks = [image.perceptual for image in index_images(root, sorted(p.name for p in root.iterdir())).images.values()]
    assert len(looks) == 315
    assert [pair for pair in near_pairs(looks, looks) if pair[0] != pair[1]] == []


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_tiff_of_8_and_16_bits(tmp_path: Path, compression: str | None) -> None:
    from mmedpo.imaging.images import read_image

    grey = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    options = {"compression": compression} if compression else {}
    Image.fromarray(grey).save(tmp_path / "a.tif", **options)
    np.testing.assert_array_equal(read_image(tmp_path, "a.tif"), grey)
    deep = np.array([[1000, 1008, 1800, 3040]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "b.tiff", **options)
    np.testing.assert_array_equal(read_image(tmp_path, "b.tiff"), [[0, 1, 100, 255]])


def test_tiff_pages_are_chosen_by_name_and_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    from mmedpo.errors import ImageError
    from mmedpo.imaging.images import read_image

    pages = [Image.fromarray(np.full((3, 3), value, np.uint8)) for value in (10, 200)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(ImageError, match=r"has 2 frames; name one of 0\.\.1"):
        read_image(tmp_path, "a.tif")
    assert read_image(tmp_path, "a.tif#frame=1")[0, 0] == 200
    Image.fromarray(np.zeros((300, 300), np.uint8)).save(tmp_path / "big.tif", compression="tiff_deflate")
    with pytest.raises(ImageError, match="300 x 300 pixels"):
        read_image(tmp_path, "big.tif", max_pixels=10_000)


def test_float_tiff_with_a_value_that_is_none_is_unreadable(tmp_path: Path) -> None:
    from mmedpo.errors import ImageError
    from mmedpo.imaging.images import read_image

    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path, "a.tif"), [[0, 128, 255]])
    values[0, 1] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="not finite"):
        read_image(tmp_path, "a.tif")


def test_indexing_holds_references_not_pixels(tmp_path: Path) -> None:
    """Forty pictures of 4 MB each: the index and the peak stay far below their 160 MB of pixels."""
    import tracemalloc

    Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 2000), dtype=np.uint8)).save(tmp_path / "0.jpg")
    for number in range(1, 40):
        (tmp_path / f"{number}.jpg").write_bytes((tmp_path / "0.jpg").read_bytes())
    tracemalloc.start()
    index = index_images(tmp_path, [f"{n}.jpg" for n in range(40)], workers=2)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index.images) == 40
    assert held < 2e6
    assert peak < 60e6
    assert index.images["0.jpg"] == index_image(tmp_path, "0.jpg")
