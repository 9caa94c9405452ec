"""The rejected view x_v* of a visual pair: noise inside the lesion (METHOD section 1, Eq. 2), or elsewhere.

`h` is the *soft* heatmap in [0, 1], so the noise fades out with the lesion instead of cutting a
hard-edged patch that a model could learn to spot. Where h is 0 the pixel is returned exactly. What
the noise is, is a registered kind (`mmedpo.imaging.noises`); `diffusion` is the paper's.

All randomness comes from `NoiseSpec.seed`: the same image, heatmap and spec give the same bytes, in
any order and on any machine. A grey image stored as RGB (three equal channels) stays grey; each of its
channels equals the result for the grey image.

Pure: arrays in, arrays out, no files.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import CurationError
from mmedpo.imaging.noises import Noise, replace
from mmedpo.imaging.tissue import tissue_mask
from mmedpo.records import Box, NoiseSpec
from mmedpo.records.shapes import Heatmap, Pixels
from mmedpo.registry import lookup

CORE_LEVELS = (0.1, 0.3, 0.5)
"""Heat above this belongs to the lesion's core when a place elsewhere is sought; the first level that finds one."""
SHARE_NEARLY_NOTHING = 0.001
"""Below this share of the area a noised image is hardly different: warn."""
SHARE_NEARLY_EVERYTHING = 0.6
"""Above this share 'lesion' noise is nearly global noise (the released masks cover 78-100 %): warn."""


def noise_image(image: Pixels, heatmap: Heatmap | None, spec: NoiseSpec, box: Box | None = None) -> Pixels:
    """The noised view of `image` that `spec` describes; same shape, uint8, the input is not touched.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        heatmap: [H, W] in 0..1, of the lesion, or of the organ for `spec.region == "organ"`; may be None for
            `spec.region == "global"`, for kinds that concern the whole image, and where `box` alone gives the region.
        spec: kind (see `mmedpo.imaging.noises`), region, strength and seed.
        box: pixels; restricts the heatmap to one box, or, without a heatmap, is the (hard-edged) region.

    Raises:
        CurationError: image or heatmap of another type, shape or range, no region although one is needed,
            or a kind that gives something else than an image of the same shape.
        ConfigError: unknown kind, schedule or step.
    """
    _check_image(image)
    if spec.seed < 0:
        raise CurationError(f"noise seed is {spec.seed}; allowed: 0 or more")
    kind: Noise = lookup("noise", spec.kind)()
    if "region" in kind.options:
        region = _region(image.shape[:2], heatmap, spec, box)
    else:
        region = np.ones(image.shape[:2], dtype=np.float64)
    noised = kind.apply(image, region, spec, np.random.default_rng([spec.seed]))
    if noised.shape != image.shape or noised.dtype != np.uint8:
        raise CurationError(
            f"noise {spec.kind!r} gave {noised.dtype} {list(noised.shape)} for a uint8 {list(image.shape)} image; "
            "it must give an image of the same shape and type"
        )
    if spec.tissue:
        noised = replace(image, noised, tissue_mask(image, spec.tissue))
    return noised


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
            f"noise region is {spec.region!r} but there is neither a map of it nor a box; "
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
