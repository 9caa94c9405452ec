"""Lesion noise: hand-derived values of Eq. 2, and what a user would notice if it were wrong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedpo.errors import ConfigError, CurationError
from mmedpo.imaging.noise import (
    elsewhere_heatmap,
    inside_of_patient,
    noise_image,
    noised_share,
)
from mmedpo.imaging.noises.diffusion import signal_share
from mmedpo.records import Box, NoiseSpec

GREY = np.full((64, 64), 128, dtype=np.uint8)
ONES = np.ones((64, 64), dtype=np.float32)


def picture(seed: int = 0, shape: tuple[int, ...] = (48, 40)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def corner_heat(shape: tuple[int, int] = (48, 40)) -> np.ndarray:
    heat = np.zeros(shape, dtype=np.float32)
    heat[4:12, 6:14] = 1.0
    heat[12:16, 6:14] = 0.5
    return heat


# xi_bar


@pytest.mark.parametrize(("step", "share"), [(500, 0.745), (700, 0.351), (999, 0.081)])
def test_signal_share_matches_the_published_schedule(step: int, share: float) -> None:
    assert signal_share(step) == pytest.approx(share, abs=5e-4)


def test_first_share_is_one_minus_the_first_beta() -> None:
    # beta_0 = sigmoid(-6) * (0.005 - 0.00001) + 0.00001, sigmoid(-6) = 0.002472623...
    assert signal_share(0) == pytest.approx(1 - (0.0024726231566 * 0.00499 + 0.00001), abs=1e-12)


def test_signal_share_falls_with_every_step() -> None:
    shares = [signal_share(step) for step in range(1000)]
    assert all(later < earlier for earlier, later in itertools.pairwise(shares))


@pytest.mark.parametrize("step", [-1, 1000])
def test_step_outside_the_schedule_is_refused(step: int) -> None:
    with pytest.raises(ConfigError, match=r"0\.\.999"):
        signal_share(step)


def test_unknown_schedule_names_the_known_one() -> None:
    with pytest.raises(ConfigError, match="povid-sigmoid"):
        signal_share(5, "cosine")


# Eq. 2


@pytest.mark.parametrize("step", [300, 500])
def test_spread_on_mid_grey_is_the_noise_share(step: int) -> None:
    image = np.full((200, 200), 128, dtype=np.uint8)
    noised = noise_image(image, np.ones((200, 200), np.float32), NoiseSpec(step=step, seed=1))
    expected = np.sqrt(1 - signal_share(step)) * 0.25 * 255
    assert noised.std() == pytest.approx(expected, rel=0.02)


def test_signal_is_kept_by_the_square_root_of_its_share() -> None:
    # u = (x/255 - 0.5)/0.25; the mean over many pixels of a flat image is the signal alone.
    image = np.full((300, 300), 178, dtype=np.uint8)
    noised = noise_image(image, None, NoiseSpec(region="global", step=500))
    expected = 127.5 + np.sqrt(signal_share(500)) * (178 - 127.5)
    assert noised.mean() == pytest.approx(expected, abs=0.5)


def test_soft_heat_mixes_linearly_before_rounding() -> None:
    image = picture(shape=(64, 64))
    full = noise_image(image, ONES, NoiseSpec(step=200, seed=4)).astype(float)
    half = noise_image(image, ONES * np.float32(0.5), NoiseSpec(step=200, seed=4)).astype(float)
    unclipped = (full > 0) & (full < 255)
    assert np.abs(half - (image + full) / 2)[unclipped].max() <= 1.0


@given(
    seed=st.integers(0, 2**32),
    step=st.integers(0, 999),
    kind=st.sampled_from(["diffusion", "blank", "mask-out"]),
    colour=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_pixels_without_heat_are_untouched_and_the_lesion_is_not(seed: int, step: int, kind: str, colour: bool) -> None:
    image = picture(seed % 7, (48, 40, 3) if colour else (48, 40))
    before = image.copy()
    heat = corner_heat()
    noised = noise_image(image, heat, NoiseSpec(kind=kind, step=step, seed=seed))
    assert noised.shape == image.shape
    assert noised.dtype == np.uint8
    assert np.array_equal(noised[heat == 0], image[heat == 0])
    assert np.array_equal(image, before)
    if step >= 100 or kind != "diffusion":
        assert not np.array_equal(noised[heat > 0], image[heat > 0])


@given(seed=st.integers(0, 2**32), kind=st.sampled_from(["diffusion", "crop", "released"]))
@settings(max_examples=30, deadline=None)
def test_a_pair_can_be_rebuilt_alone_from_its_seed(seed: int, kind: str) -> None:
    image, heat = picture(), corner_heat()
    spec = NoiseSpec(kind=kind, seed=seed)
    first = noise_image(image, heat, spec)
    noise_image(picture(5), heat, NoiseSpec(kind=kind, seed=seed + 1))
    assert noise_image(image, heat, spec).tobytes() == first.tobytes()
    assert noise_image(image, heat, NoiseSpec(kind=kind, seed=seed + 1)).tobytes() != first.tobytes()


def test_grey_stored_as_rgb_stays_grey_and_equals_the_grey_result() -> None:
    image, heat = picture(), corner_heat()
    alone = noise_image(image, heat, NoiseSpec(step=700))
    as_rgb = noise_image(np.repeat(image[..., None], 3, axis=2), heat, NoiseSpec(step=700))
    assert all(np.array_equal(as_rgb[..., channel], alone) for channel in range(3))


def test_colour_channels_get_their_own_noise() -> None:
    image = np.full((64, 64, 3), (120, 130, 140), dtype=np.uint8)
    noised = noise_image(image, ONES, NoiseSpec(step=500)).astype(float)
    assert abs(np.corrcoef(noised[..., 0].ravel(), noised[..., 1].ravel())[0, 1]) < 0.1


# The other kinds


def test_blank_fills_with_the_mean_grey() -> None:
    image = np.array([[0, 100], [200, 100]], dtype=np.uint8)
    blank = noise_image(image, None, NoiseSpec(kind="blank", region="global"))
    assert blank.tolist() == [[100, 100], [100, 100]]


def test_mask_out_blackens_from_half_heat_on() -> None:
    heat = np.array([[0.0, 0.49, 0.5, 1.0]], dtype=np.float32)
    image = np.full((1, 4), 77, dtype=np.uint8)
    assert noise_image(image, heat, NoiseSpec(kind="mask-out")).tolist() == [[77, 77, 0, 0]]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_crop_is_a_resized_window_of_at_most_a_fifth(seed: int) -> None:
    # Each pixel tells its own place, so the window's extent can be read off the result.
    rows, columns = np.mgrid[0:200, 0:200]
    image = np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    crop = noise_image(image, None, NoiseSpec(kind="crop", seed=seed))
    assert crop.shape == image.shape
    height = int(crop[..., 0].max()) - int(crop[..., 0].min()) + 1
    width = int(crop[..., 1].max()) - int(crop[..., 1].min()) + 1
    assert abs(height - width) <= 1
    assert 0.01 - 0.004 <= height * width / 200**2 <= 0.20 + 0.006


def test_released_noise_wraps_around_to_near_black_and_near_white() -> None:
    static = noise_image(np.full((200, 200), 128, np.uint8), None, NoiseSpec(kind="released", region="global"))
    middle = (static > 60) & (static < 196)
    assert middle.mean() < 1e-3
    # trunc towards 0 sends |eps| < 0.1 to 0; the rest splits evenly into small and wrapped values
    assert (static > 127).mean() == pytest.approx(0.5 * (1 - 0.0797), abs=0.015)


def test_released_mask_is_heat_above_mean_minus_deviation() -> None:
    # 0, .5, .5, 1: mean 0.5, std sqrt(1/8) = 0.354, threshold 0.146: only the first pixel stays.
    heat = np.array([[0.0, 0.5, 0.5, 1.0]], dtype=np.float32)
    image = np.full((1, 4), 128, dtype=np.uint8)
    noised = noise_image(image, heat, NoiseSpec(kind="released", seed=3))
    assert (noised != 128).tolist() == [[False, True, True, True]]


# Regions


def test_a_box_alone_is_the_region_and_with_a_heatmap_restricts_it() -> None:
    image = picture(shape=(64, 64))
    box = Box(x0=10, y0=20, x1=30, y1=24)
    for heat in (None, ONES):
        changed = noise_image(image, heat, NoiseSpec(kind="mask-out"), box=box) != image
        expected = np.zeros((64, 64), dtype=bool)
        expected[20:24, 10:30] = True
        assert np.array_equal(changed, expected & (image != 0))


@pytest.mark.parametrize(
    ("image", "heat", "message"),
    [
        (GREY.astype(np.float32), ONES, "uint8"),
        (np.zeros((8, 8, 4), np.uint8), np.ones((8, 8), np.float32), r"\[H, W, 3\]"),
        (GREY, ONES[:32], "height and width"),
        (GREY, ONES * 2, r"0\.\.1"),
        (GREY, ONES * np.float32(np.nan), r"0\.\.1"),
        (GREY, None, "ground the image first"),
    ],
)
def test_unusable_input_is_refused_with_its_fix(image: np.ndarray, heat: np.ndarray | None, message: str) -> None:
    with pytest.raises(CurationError, match=message):
        noise_image(image, heat, NoiseSpec())


def test_a_box_outside_the_image_is_refused() -> None:
    with pytest.raises(CurationError, match="outside"):
        noise_image(GREY, None, NoiseSpec(), box=Box(x0=70, y0=0, x1=80, y1=9))


# Elsewhere


def test_elsewhere_mirrors_when_the_other_side_is_free() -> None:
    heat = corner_heat()
    assert np.array_equal(elsewhere_heatmap(heat, seed=0), heat[:, ::-1])


@given(seed=st.integers(0, 10**6), top=st.integers(0, 40), left=st.integers(0, 40), soft=st.booleans())
@settings(max_examples=40, deadline=None)
def test_elsewhere_keeps_the_values_and_leaves_the_lesion(seed: int, top: int, left: int, soft: bool) -> None:
    heat = np.zeros((60, 60), dtype=np.float32)
    heat[top : top + 12, left : left + 20] = 1.0
    if soft:
        heat = np.maximum(heat, np.float32(0.05))
    moved = elsewhere_heatmap(heat, seed)
    assert moved is not None
    assert moved.shape == heat.shape
    assert moved.dtype == np.float32
    assert np.array_equal(np.sort(moved.ravel()), np.sort(heat.ravel()))
    assert not ((moved > 0.1) & (heat > 0.1)).any()
    rows, columns = np.nonzero(moved > 0.1)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (12, 20)  # one piece: nothing wrapped round


def test_elsewhere_stays_inside_the_body_or_gives_up() -> None:
    heat = np.zeros((60, 60), dtype=np.float32)
    heat[20:30, 25:35] = 1.0
    body = np.zeros((60, 60), dtype=bool)
    body[15:50, 20:40] = True
    for seed in range(5):
        moved = elsewhere_heatmap(heat, seed, body)
        assert moved is not None
        assert body[moved > 0.1].all()
    assert elsewhere_heatmap(heat, 0, body & (heat > 0)) is None


@pytest.mark.parametrize("seed", range(5))
def test_elsewhere_does_not_touch_the_faint_rim_of_the_lesion(seed: int) -> None:
    # A core of 1.0 in a wide rim of 0.15, just beside the midline: the mirror image of the rim would overlap it.
    heat = np.zeros((60, 60), dtype=np.float32)
    heat[15:35, 18:33] = 0.15
    heat[20:30, 22:28] = 1.0
    moved = elsewhere_heatmap(heat, seed)
    assert moved is not None
    assert not ((moved >= 0.15) & (heat >= 0.15)).any()


def test_a_faint_scatter_does_not_keep_the_lesion_from_being_placed() -> None:
    # Heat of 0.2 in two corners spans the whole image: at level 0.1 the core cannot move at all.
    heat = np.zeros((60, 60), dtype=np.float32)
    heat[0, 0] = heat[59, 59] = heat[0, 59] = heat[59, 0] = 0.2
    heat[20:30, 25:35] = 1.0
    moved = elsewhere_heatmap(heat, 1)
    assert moved is not None
    assert not ((moved > 0.3) & (heat > 0.3)).any()
    assert np.array_equal(np.sort(moved.ravel()), np.sort(heat.ravel()))


def test_elsewhere_differs_with_the_seed_where_the_mirror_is_taken() -> None:
    heat = np.zeros((60, 60), dtype=np.float32)
    heat[20:30, 25:35] = 1.0
    places = {elsewhere_heatmap(heat, seed).tobytes() for seed in range(6)}
    assert len(places) > 1


def test_no_elsewhere_for_a_lesion_that_fills_the_image_or_is_absent() -> None:
    assert elsewhere_heatmap(ONES, 0) is None
    assert elsewhere_heatmap(ONES * 0, 0) is None


def test_inside_of_patient_holds_the_dark_lungs_but_not_the_air_outside() -> None:
    image = np.zeros((120, 120), dtype=np.uint8)
    image[20:110, 20:100] = 180
    image[40:80, 30:55] = image[40:80, 65:90] = 5
    body = inside_of_patient(image)
    assert body[60, 42]
    assert body[60, 77]
    assert body[90, 60]
    assert not body[5, 5]
    assert not body[60, 5]
    assert body.mean() == pytest.approx(90 * 80 / 120**2, rel=0.06)


def test_noised_share_is_the_mean_heat() -> None:
    assert noised_share(np.array([[0.0, 0.5], [1.0, 0.5]], dtype=np.float32)) == 0.5


def test_real_radiograph_keeps_everything_but_the_lesion(shared_data) -> None:
    import json

    folder = shared_data / "cxr_boxes"
    row = next(row for row in json.loads((folder / "annotations.json").read_text()) if row["boxes"])
    image = np.asarray(Image.open(folder / row["file"]).convert("L"))
    x0, y0, x1, y1 = row["boxes"][0]["xyxy"]
    box = Box(x0=x0, y0=y0, x1=x1, y1=y1)
    noised = noise_image(image, None, NoiseSpec(step=700, seed=2), box=box).astype(float)
    difference = np.abs(noised - image)
    inside = np.zeros(image.shape, dtype=bool)
    inside[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))] = True
    assert difference[~inside].max() == 0
    assert difference[inside].mean() > 20
