"""Tissue and background of a picture, by modality: noise on air, on a black frame or on glass hides nothing. Pure.

What is background is decided by the picture alone, so that a noised view can be rebuilt. Where less than LEAST of
a picture would be left, or a modality has no rule (films: the patient fills them), all of it is tissue.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes, gaussian_filter, label

from mmedpo.errors import CurationError
from mmedpo.records.shapes import Mask, Pixels

LEAST = 0.02
"""Least share of a picture that is believed to be all of its tissue."""
BRIGHT = 0.1
"""A slice's tissue lies above this share of its 99th percentile."""
PART = 0.1
"""A part of a slice counts from this share of its largest part on: both legs, but no table and no letters."""
FRAME_GREY = 25.0
"""Grey up to which what hangs together with the picture's edge is the frame of a lens."""
GLASS_GREY, GLASS_COLOUR = 215.0, 22.0
"""Glass is at least so bright in every channel, and its channels differ by less than this."""

Floats = NDArray[np.float64]


def rule_of(modality: str) -> str:
    """Name of the modality's rule; empty where it has none."""
    return _OF_MODALITY.get(modality.casefold(), "")


def tissue_mask(image: Pixels, rule: str) -> Mask:
    """bool [H, W]: where the picture shows tissue.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        rule: one of RULES.

    Raises:
        CurationError: no such rule.
    """
    if rule not in RULES:
        raise CurationError(f"tissue rule {rule[:40]!r} is unknown; allowed: {', '.join(RULES)}")
    found = RULES[rule](image)
    return found if found.mean() >= LEAST else np.ones(image.shape[:2], dtype=bool)


def _slice(image: Pixels) -> Mask:
    """CT and MR: bright parts without thin lines, holes (air in lungs and bowel) filled."""
    grey = _smooth(image.astype(np.float64) if image.ndim == 2 else image.mean(axis=2))
    bright = _opened(grey > BRIGHT * np.percentile(grey, 99))
    parts, _ = label(bright)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(binary_fill_holes(np.isin(parts, np.flatnonzero(sizes >= max(1.0, PART * sizes.max())))))


def _lens(image: Pixels) -> Mask:
    """Fundus and dermoscopy: all but the dark frame, which hangs together with the picture's edge."""
    dark = _smooth(image.astype(np.float64) if image.ndim == 2 else image.max(axis=2)) <= FRAME_GREY
    parts, _ = label(dark)
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    return np.asarray(~np.isin(parts, edge[edge > 0]))


def _slide(image: Pixels) -> Mask:
    """Pathology: all but glass, which is bright and without colour; its specks inside tissue belong to it."""
    colour = image.astype(np.float64) if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2).astype(np.float64)
    smooth = np.stack([_smooth(colour[..., channel]) for channel in range(3)], axis=-1)
    glass = (smooth.min(axis=2) >= GLASS_GREY) & (np.ptp(smooth, axis=2) < GLASS_COLOUR)
    return ~_opened(glass)


def _opened(mask: Mask) -> Mask:
    """Without what is thinner than a thirtieth of the picture; what lies at its edge goes on behind it."""
    steps = max(1, min(mask.shape) // 64)
    return np.asarray(binary_dilation(binary_erosion(mask, iterations=steps, border_value=1), iterations=steps))


def _smooth(grey: Floats) -> Floats:
    return np.asarray(gaussian_filter(grey, max(0.3, min(grey.shape) / 256)))


RULES: dict[str, Callable[[Pixels], Mask]] = {"slice": _slice, "lens": _lens, "slide": _slide}
_OF_MODALITY = {"ct": "slice", "mri": "slice", "fundus": "lens", "dermoscopy": "lens", "pathology": "slide"}
