"""Eleven statistics of each patch of a radiograph, and where the patch lies: what the patch probe sees.

The image is resized to SIZE x SIZE pixels (its aspect ratio is not kept: chest radiographs are nearly
square) and standardised by itself: clipped to its 1st..99th percentile, then zero mean and unit
standard deviation, so that exposure and bit depth of the source do not matter. It is cut into
GRID x GRID patches.

SIZE is small on purpose. Public radiographs come in many resolutions, and texture finer than a few
pixels tells the resolution and the JPEG quality of the source rather than the disease.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from mmedpo.grounding.grounder import to_grey
from mmedpo.records.shapes import Floats, Pixels

GRID = 14
"""Patches per side, as in the 14 x 14 attention maps of MedKLIP."""
SIZE = 112
"""Side of the resized image, pixels; a multiple of GRID."""
PATCH = SIZE // GRID

STATISTICS = (
    "mean",
    "log-std",
    "log-gradient",
    "contrast-to-ring-1",
    "contrast-to-ring-2",
    "neighbourhood-mean",
    "mirror-difference",
    "absolute-mirror-difference",
    "rank-in-image",
    "rank-in-row",
    "rank-in-column",
)
POSITION = ("row", "column", "column-squared")
FEATURES = STATISTICS + POSITION
"""Names of the last axis of `patch_features`, in order."""


def patch_features(image: Pixels) -> Floats | None:
    """float64 [GRID, GRID, len(FEATURES)], or None for an image without contrast (a blank picture).

    Intensities are in standard deviations of the image. `mirror-difference` compares with the patch
    at the same height on the other side of the image's midline; ranks run from 0 (darkest) to 1;
    `row` and `column` run from -1 (top, left of the picture) to 1.

    Raises:
        GroundingError: image of a wrong type or shape.
    """
    values = _standardised(image)
    if values is None:
        return None
    patches = values.reshape(GRID, PATCH, GRID, PATCH)
    mean, spread = patches.mean(axis=(1, 3)), patches.std(axis=(1, 3))
    rows, columns = np.gradient(values)
    # Per 1/224 of the image, so that the numbers do not depend on SIZE.
    gradient = (np.hypot(rows, columns) * SIZE / 224).reshape(GRID, PATCH, GRID, PATCH).mean(axis=(1, 3))
    near, far = _box_mean(mean, 1), _box_mean(mean, 2)
    mirror = near - near[:, ::-1]
    at = (np.arange(GRID) + 0.5) / GRID * 2.0 - 1.0
    row, column = np.meshgrid(at, at, indexing="ij")
    planes = (
        mean,
        np.log(spread + 0.01),
        np.log(gradient + 0.001),
        mean - (near * 9 - mean) / 8,
        mean - (far * 25 - near * 9) / 16,
        near,
        mirror,
        np.abs(mirror),
        _rank(mean.reshape(1, -1)).reshape(GRID, GRID),
        _rank(mean),
        _rank(mean.T).T,
        row,
        column,
        column**2,
    )
    return np.stack(planes, axis=-1)


def _standardised(image: Pixels) -> Floats | None:
    grey = Image.fromarray(to_grey(image).astype(np.float32))
    values = np.asarray(grey.resize((SIZE, SIZE), Image.Resampling.BILINEAR), dtype=np.float64)
    values = np.clip(values, *np.percentile(values, (1, 99)))
    deviation = float(values.std())
    if deviation < 1.0:  # less than one grey value of 255: nothing but rounding and noise
        return None
    return np.asarray((values - values.mean()) / deviation)


def _box_mean(values: Floats, reach: int) -> Floats:
    """Mean over the (2 reach + 1)^2 neighbourhood, borders repeated."""
    padded = np.pad(values, reach, mode="edge")
    side = 2 * reach + 1
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, (side, side)).mean(axis=(2, 3)))


def _rank(values: Floats) -> Floats:
    """Rank along the last axis, 0..1; ties in order of place."""
    order = np.argsort(np.argsort(values, axis=-1, kind="stable"), axis=-1, kind="stable")
    return np.asarray(order / (values.shape[-1] - 1.0))
