"""What a kind of noise is, and the strokes that kinds share. Pure: arrays in, arrays out."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels

Region = NDArray[np.float64]
"""h of Eq. 2, float64 [H, W] in 0..1; 1 everywhere for `region: global`."""


class Noise(Protocol):
    """A registered kind of noise: `@register("noise", NAME)` on a class without constructor arguments."""

    options: ClassVar[frozenset[str]]
    """Fields of `NoiseSpec` that have an effect, of `region`, `step` and `schedule`; the seed always may.

    Without `region` the noise concerns the whole image, and needs no heatmap."""

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """The noised view, of the image's shape and type; the image is not touched.

        Args:
            image: uint8 [H, W] or [H, W, 3], checked.
            region: where, and how much.
            spec: step and schedule.
            rng: the only source of chance; seeded by `spec.seed`.
        """
        ...


def standard_normal(image: Pixels, rng: np.random.Generator) -> NDArray[np.float64]:
    """Standard normal noise that broadcasts to the image; one draw for all channels of a grey image."""
    if image.ndim == 2:
        return rng.standard_normal(image.shape)
    if bool((image == image[..., :1]).all()):
        return rng.standard_normal(image.shape[:2])[..., None]
    return rng.standard_normal(image.shape)


def blend(image: Pixels, other: NDArray[np.float64], region: Region) -> Pixels:
    """image (1 - h) + other h, rounded and clipped; where h is 0 the pixel stays exactly."""
    weight = region if image.ndim == 2 else region[..., None]
    mixed = image * (1.0 - weight) + other * weight
    mixed_pixels = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return replace(image, mixed_pixels, region > 0)


def replace(image: Pixels, other: Pixels, where: NDArray[np.bool_]) -> Pixels:
    """The image with the pixels of another one, of the same shape, at `where`."""
    out = image.copy()
    out[where] = other[where]
    return out
