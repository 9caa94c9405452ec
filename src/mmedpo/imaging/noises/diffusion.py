"""`diffusion`: Eq. 2 of the paper, forward diffusion inside the soft heatmap.

    x* = sqrt(xi_bar_k) (x . h) + sqrt(1 - xi_bar_k) (eps . h) + x . (1 - h)

Units: Eq. 2 wants an image of roughly zero mean and unit variance next to a standard normal eps.
A pixel x in 0..255 becomes u = (x / 255 - PIXEL_MEAN) / PIXEL_STD with PIXEL_MEAN = 0.5 and
PIXEL_STD = 0.25, and the result is mapped back, rounded and clipped to 0..255. On a mid-grey image
with h = 1 the standard deviation is therefore sqrt(1 - xi_bar_k) * 63.75 grey values (less what is
clipped beyond +-2 units, which matters only for large k).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import ClassVar

import numpy as np

from mmedpo.errors import ConfigError
from mmedpo.imaging.noises.noise import Region, blend, standard_normal
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels
from mmedpo.registry import register

STEPS = 1000
"""Length of every schedule; the noise step k runs over 0..STEPS - 1."""
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
"""Fixed (not per-image) standardisation of pixels in 0..1: fixed, so that k means the same everywhere."""


@register("noise", "diffusion")
class Diffusion:
    """Eq. 2; eps depends on the seed and the shape only, not on k, so noised views of different strength are nested."""

    options: ClassVar[frozenset[str]] = frozenset({"region", "step", "schedule"})

    def apply(self, image: Pixels, region: Region, spec: NoiseSpec, rng: np.random.Generator) -> Pixels:
        """See `Noise`.

        Raises:
            ConfigError: unknown schedule or step.
        """
        kept = signal_share(spec.step, spec.schedule)
        signal = (image / 255.0 - PIXEL_MEAN) / PIXEL_STD
        noised = math.sqrt(kept) * signal + math.sqrt(1.0 - kept) * standard_normal(image, rng)
        return blend(image, (noised * PIXEL_STD + PIXEL_MEAN) * 255.0, region)


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
