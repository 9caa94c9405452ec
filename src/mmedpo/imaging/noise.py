"""Lesion-local noise: the rejected view x_v* of a visual pair (METHOD section 1, Eq. 2).

    x* = sqrt(xi_bar_k) (x . h) + sqrt(1 - xi_bar_k) (eps . h) + x . (1 - h)

`h` is the *soft* heatmap in [0, 1], so the noise fades out with the lesion instead of cutting a
hard-edged patch that a model could learn to spot. Where h is 0 the pixel is returned exactly.

Units: Eq. 2 wants an image of roughly zero mean and unit variance next to a standard normal eps.
A pixel x in 0..255 becomes u = (x / 255 - PIXEL_MEAN) / PIXEL_STD with PIXEL_MEAN = 0.5 and
PIXEL_STD = 0.25, and the result is mapped back, rounded and clipped to 0..255. On a mid-grey image
with h = 1 the standard deviation is therefore sqrt(1 - xi_bar_k) * 63.75 grey values (less what is
clipped beyond +-2 units, which matters only for large k).

All randomness comes from `NoiseSpec.seed`: the same image, heatmap and spec give the same bytes, in
any order and on any machine. eps depends on the seed and the shape only, not on k, so noised views
of different strength are nested. A grey image stored as RGB (three equal channels) gets one eps for
all channels and stays grey; each of its channels equals the result for the grey image.

Pure: arrays in, arrays out, no files.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmedpo.errors import ConfigError, CurationError
from mmedpo.records import Box, NoiseSpec
from mmedpo.records.shapes import Heatmap, Pixels

STEPS = 1000
"""Length of every schedule; the noise step k runs over 0..STEPS - 1."""
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
"""Fixed (not per-image) standardisation of pixels in 0..1: fixed, so that k means the same everywhere."""
CROP_SHARE = (0.01, 0.20)
"""Share of the image's area an mDPO crop keeps, drawn uniformly."""
RELEASED_STD = 10.0
"""Standard deviation of the released code's noise, grey values."""
CORE_LEVELS = (0.1, 0.3, 0.5)
"""Heat above this belongs to the lesion's core when a place elsewhere is sought; the first level that finds one."""
SHARE_NEARLY_NOTHING = 0.001
"""Below this share of the area a noised image is hardly different: warn."""
SHARE_NEARLY_EVERYTHING = 0.6
"""Above this share 'lesion' noise is nearly global noise (the released masks cover 78-100 %): warn."""


@lru_cache
def _signal_shares(schedule: str) -> tuple[float, ...]:
    """xi_bar_0 .. xi_bar_(STEPS - 1)."""
    if schedule != "povid-sigmoid":
        raise ConfigError(f"noise schedule {schedule!r} is unknown; allowed: 'povid-sigmoid'")
    beta = 1.0 / (1.0 + np.exp(-np.linspace(-6.0, 6.0, STEPS))) * (0.5e-2 - 1e-5) + 1e-5
    return tuple(float(share) for share in np.cumprod(1.0 - beta))


def signal_share(step: int, schedule: str = "povid-sigmoid") -> float:
    """xi_bar_k = prod of xi_i over 0 <= i <= k, the share of the signal's variance kept at noise step k.

    Indexed from 0, as POVID does: signal_share(0) = xi_0 (not 1) and signal_share(999) is the product
    of all 1000 factors. So xi_bar_500 = 0.745, xi_bar_700 = 0.351, xi_bar_999 = 0.081.

    Raises:
        ConfigError: unknown schedule, or a step outside 0..999.
    """
    shares = _signal_shares(schedule)
    if not 0 <= step < STEPS:
        raise ConfigError(f"noise step is {step}; allowed: 0..{STEPS - 1}, e.g. 500")
    return shares[step]


def noise_image(image: Pixels, heatmap: Heatmap | None, spec: NoiseSpec, box: Box | None = None) -> Pixels:
    """The noised view of `image` that `spec` describes; same shape, uint8, the input is not touched.

    Kinds (`spec.kind`):
        diffusion   Eq. 2 with the soft heatmap (see the module).
        blank       the region fades to the image's mean colour: x (1 - h) + mean h.
        mask-out    pixels with h >= 0.5 become black.
        crop        mDPO: a random window of 1-20 % of the area, resized back to the full image;
                    it always concerns the whole image, so heatmap, box and region play no part.
        released    the published code: where h > mean(h) - std(h), pixels are replaced by N(0, 10)
                    grey values with 8-bit wrap-around; globally this is pure static.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        heatmap: [H, W] in 0..1; may be None for `spec.region == "global"`, for crops, and where
            `box` alone gives the region.
        box: pixels; restricts the heatmap to one box, or, without a heatmap, is the (hard-edged) region.

    Raises:
        CurationError: image or heatmap of another type, shape or range, or no region although one is needed.
        ConfigError: unknown schedule or step.
    """
    _check_image(image)
    if spec.seed < 0:
        raise CurationError(f"noise seed is {spec.seed}; allowed: 0 or more")
    rng = np.random.default_rng([spec.seed])
    if spec.kind == "crop":
        return _crop(image, rng)
    region = _region(image.shape[:2], heatmap, spec, box)
    if spec.kind == "diffusion":
        return _diffuse(image, region, signal_share(spec.step, spec.schedule), rng)
    if spec.kind == "blank":
        mean = image.mean(axis=(0, 1))
        return _blend(image, np.broadcast_to(mean, image.shape), region)
    if spec.kind == "mask-out":
        return _replace(image, np.zeros_like(image), region >= 0.5)
    mask = np.ones(region.shape, dtype=bool) if spec.region == "global" else region > region.mean() - region.std()
    static = np.trunc(_eps(image, rng) * RELEASED_STD).astype(np.int64) & 0xFF
    return _replace(image, np.broadcast_to(static, image.shape).astype(np.uint8), mask)


def _diffuse(image: Pixels, h: NDArray[np.float64], kept: float, rng: np.random.Generator) -> Pixels:
    """Eq. 2 in standardised units."""
    signal = (image / 255.0 - PIXEL_MEAN) / PIXEL_STD
    noised = math.sqrt(kept) * signal + math.sqrt(1.0 - kept) * _eps(image, rng)
    return _blend(image, (noised * PIXEL_STD + PIXEL_MEAN) * 255.0, h)


def _eps(image: Pixels, rng: np.random.Generator) -> NDArray[np.float64]:
    """Standard normal noise that broadcasts to the image; one draw for all channels of a grey image."""
    if image.ndim == 2:
        return rng.standard_normal(image.shape)
    if bool((image == image[..., :1]).all()):
        return rng.standard_normal(image.shape[:2])[..., None]
    return rng.standard_normal(image.shape)


def _blend(image: Pixels, other: NDArray[np.float64], h: NDArray[np.float64]) -> Pixels:
    weight = h if image.ndim == 2 else h[..., None]
    mixed = image * (1.0 - weight) + other * weight
    mixed_pixels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return _replace(image, mixed_pixels, h > 0)


def _replace(image: Pixels, other: Pixels, where: NDArray[np.bool_]) -> Pixels:
    out = image.copy()
    out[where] = other[where]
    return out


def _crop(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A window of the image's own aspect ratio, so that resizing back does not distort anatomy."""
    height, width = image.shape[:2]
    side = math.sqrt(rng.uniform(*CROP_SHARE))
    rows, columns = max(1, round(side * height)), max(1, round(side * width))
    top = int(rng.integers(0, height - rows + 1))
    left = int(rng.integers(0, width - columns + 1))
    window = np.ascontiguousarray(image[top : top + rows, left : left + columns])
    resized = Image.fromarray(window).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)


def _check_image(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise CurationError(
            f"image is {image.dtype} {list(image.shape)}; allowed: uint8 [H, W] or [H, W, 3]; "
            "convert it to 8-bit grey or RGB"
        )
    if image.size == 0:
        raise CurationError(f"image has shape {list(image.shape)}; it must have at least one pixel")


def _check_heatmap(heatmap: Heatmap, shape: tuple[int, ...]) -> None:
    if heatmap.shape != shape:
        raise CurationError(
            f"heatmap has shape {list(heatmap.shape)}, the image {list(shape)}; "
            "a heatmap must have the height and width of its image"
        )
    low, high = float(heatmap.min()), float(heatmap.max())
    if not (np.isfinite(heatmap).all() and low >= 0.0 and high <= 1.0):
        raise CurationError(f"heatmap spans {low:g}..{high:g}; allowed: finite values in 0..1; normalise it first")


def _region(shape: tuple[int, ...], heatmap: Heatmap | None, spec: NoiseSpec, box: Box | None) -> NDArray[np.float64]:
    """h of Eq. 2, float64 [H, W]."""
    if spec.region == "global":
        return np.ones(shape, dtype=np.float64)
    if heatmap is None and box is None:
        raise CurationError(
            "noise region is 'lesion' but there is neither a heatmap nor a box; "
            "ground the image first or set region 'global'"
        )
    h = np.ones(shape, dtype=np.float64)
    if heatmap is not None:
        _check_heatmap(heatmap, shape)
        h = heatmap.astype(np.float64)
    if box is not None:
        inside = np.zeros(shape, dtype=bool)
        y0, x0 = max(0, math.floor(box.y0)), max(0, math.floor(box.x0))
        inside[y0 : max(y0, math.ceil(box.y1)), x0 : max(x0, math.ceil(box.x1))] = True
        if not inside.any():
            raise CurationError(f"box {(box.x0, box.y0, box.x1, box.y1)} lies outside the {list(shape)} image")
        h = np.where(inside, h, 0.0)
    return h


def elsewhere_heatmap(heatmap: Heatmap, seed: int, body: NDArray[np.bool_] | None = None) -> Heatmap | None:
    """The same heat in another place: the control region of the lesion-reliance probe.

    The map is only mirrored or shifted, so the summed heat is equal, value by value. Its core keeps
    its shape, lies wholly inside the image (and inside `body` where given) and does not touch the
    old core. The core is the heat above 0.1; where that is too scattered to be placed, above 0.3,
    then 0.5 (weaker heat may then overlap or wrap round the border). First choice is the mirror image
    about the vertical midline, the same tissue of the other side; where that is not free, one of the
    free places is drawn with `seed`.

    Args:
        heatmap: [H, W] in 0..1.
        body: bool [H, W], True where the control may lie (`inside_of_patient`); None: anywhere.

    Returns:
        float32 [H, W], or None when no free place exists (the lesion covers too much of the image)
        or the heatmap has no core at all: the caller then has no control for this image.

    Raises:
        CurationError: heatmap out of range, or a body of another size.
    """
    _check_heatmap(heatmap, heatmap.shape)
    if body is not None and body.shape != heatmap.shape:
        raise CurationError(f"body has shape {list(body.shape)}, the heatmap {list(heatmap.shape)}; sizes must agree")
    for level in CORE_LEVELS:
        core = heatmap > level
        if not core.any():
            return None
        blocked = core if body is None else core | ~body
        if not bool((core[:, ::-1] & blocked).any()):
            return np.ascontiguousarray(heatmap[:, ::-1], dtype=np.float32)
        shift = _free_shift(core, blocked, np.random.default_rng([seed]))
        if shift is not None:
            return np.roll(heatmap, shift, axis=(0, 1)).astype(np.float32)
    return None


def _free_shift(
    core: NDArray[np.bool_], blocked: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[int, int] | None:
    """A random (rows, columns) shift that keeps the core in the frame and off every blocked pixel."""
    rows, columns = np.flatnonzero(core.any(axis=1)), np.flatnonzero(core.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    window = core[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    # Entry [i, j] counts the blocked pixels under the core when its window starts at row i, column j.
    spectrum = np.fft.rfft2(blocked.astype(np.float64)) * np.conj(np.fft.rfft2(window, s=blocked.shape))
    collisions = np.fft.irfft2(spectrum, s=blocked.shape)
    framed = collisions[: core.shape[0] - window.shape[0] + 1, : core.shape[1] - window.shape[1] + 1]
    free = np.argwhere(framed < 0.5)
    if len(free) == 0:
        return None
    row, column = free[int(rng.integers(len(free)))]
    return int(row) - top, int(column) - left


def inside_of_patient(image: Pixels) -> NDArray[np.bool_]:
    """bool [H, W]: the largest bright part of the picture with its holes (air in the lungs) filled.

    Bright means above a tenth of the picture's 99th percentile after a slight blur. All True where
    less than a tenth of the picture would be left: then brightness does not tell the patient from air.
    """
    from scipy.ndimage import binary_fill_holes, gaussian_filter, label

    _check_image(image)
    grey = image.astype(np.float64) if image.ndim == 2 else image.mean(axis=2)
    smooth = gaussian_filter(grey, max(1.0, min(grey.shape) / 100))
    parts, count = label(smooth > 0.1 * np.percentile(smooth, 99))
    if count == 0:
        return np.ones(grey.shape, dtype=bool)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    filled = np.asarray(binary_fill_holes(largest), dtype=bool)
    return filled if filled.mean() >= 0.1 else np.ones(grey.shape, dtype=bool)


def noised_share(heatmap: Heatmap) -> float:
    """Share of the image's area that is noised, mean(h) in 0..1.

    Compare with `SHARE_NEARLY_NOTHING` and `SHARE_NEARLY_EVERYTHING`: outside these a visual pair teaches little.
    """
    return float(np.asarray(heatmap, dtype=np.float64).mean())
