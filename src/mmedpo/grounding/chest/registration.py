"""Lays a frontal chest radiograph over a template, so that "left lower zone" is the same place in every film.

The film is shrunk to SIDE x SIDE pixels and standardised; five numbers (shift, stretch along both
axes, one for tilt) move it onto the template. They are found by Gauss-Newton steps on the blurred
film with weights that fall for large residuals, so that an opacity does not pull the lungs. How well
the moved film agrees with the template tells whether it is a frontal chest radiograph at all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from mmedpo.grounding.grounder import to_grey
from mmedpo.records.shapes import Pixels

SIDE = 64
"""Side of the shrunken film, pixels: public radiographs come in many resolutions, and finer texture tells which."""
BLUR = 1.5
"""Standard deviation of the blur before registration, pixels of the shrunken film."""
STEPS = 12
LIMITS = np.array([0.3, 0.3, 0.3, 0.3, 0.15])
"""Largest shift (half widths), stretch (logarithm) and tilt: beyond these the film is another kind of picture."""
STIFFNESS = np.array([40.0, 40.0, 160.0, 160.0, 400.0])
"""How strongly each number is held to 0, in units of the squared residual."""
FLAT = 1.0
"""Below this deviation, grey values of 255, a picture holds nothing but rounding and noise."""

Floats = NDArray[np.float64]

_AT = (np.arange(SIDE) - (SIDE - 1) / 2) / (SIDE / 2)
_V, _U = np.meshgrid(_AT, _AT, indexing="ij")
CENTRAL: Floats = np.exp(-((_U / 0.85) ** 6 + (_V / 0.85) ** 6))
"""Weight [SIDE, SIDE] of each place of the template; it falls to 0 at the rim, where films differ by collimation."""


class Pose(NamedTuple):
    """Where the template's places lie in the film: x' = e^(stretch_x) x + tilt y + shift_x, and so for y."""

    shift_x: float
    """Half widths of the film, to the right."""
    shift_y: float
    """Half heights, down."""
    stretch_x: float
    """Logarithm of the factor."""
    stretch_y: float
    """Logarithm of the factor."""
    tilt: float
    """Radians, small."""


def shrink(image: Pixels) -> Floats | None:
    """float64 [SIDE, SIDE] in standard deviations of the film without its rim; None for a blank picture.

    Raises:
        GroundingError: image of a wrong type or shape.
    """
    grey = Image.fromarray(to_grey(image).astype(np.float32))
    small = np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float64)
    small = np.clip(small, *np.percentile(small, (1, 99)))
    inner = small[6:-6, 6:-6]
    if float(inner.std()) < FLAT:
        return None
    return np.asarray((small - inner.mean()) / inner.std())


def to_template(values: Floats, pose: Pose, outside: float | None = None) -> Floats:
    """A plane of the film [SIDE, SIDE] as seen from the template; beyond the film its border, or `outside`."""
    across = np.exp(pose.stretch_x) * _U + pose.tilt * _V + pose.shift_x
    down = np.exp(pose.stretch_y) * _V - pose.tilt * _U + pose.shift_y
    return _sample(values, down, across, outside)


def to_film(values: Floats, pose: Pose) -> Floats:
    """A plane of the template [SIDE, SIDE] as seen from the film; 0 beyond the template."""
    wide, high, tilt = np.exp(pose.stretch_x), np.exp(pose.stretch_y), pose.tilt
    u, v = _U - pose.shift_x, _V - pose.shift_y
    determinant = wide * high + tilt**2
    return _sample(values, (tilt * u + wide * v) / determinant, (high * u - tilt * v) / determinant, 0.0)


def standardised(values: Floats) -> Floats:
    """Zero mean and unit deviation under CENTRAL."""
    total = CENTRAL.sum()
    centred = values - (CENTRAL * values).sum() / total
    deviation = np.sqrt((CENTRAL * centred**2).sum() / total)
    return np.asarray(centred / max(float(deviation), 1e-9))


def register(film: Floats, template: Floats) -> Pose:
    """The pose that lays `film` (from `shrink`) over `template`, both [SIDE, SIDE]."""
    blurred = gaussian_filter(film, BLUR)
    numbers = np.zeros(5)
    for _ in range(STEPS):
        moved = standardised(to_template(blurred, Pose(*numbers)))
        down, across = (np.asarray(plane) * (SIDE / 2) for plane in np.gradient(moved))
        slopes = np.stack([across, down, across * _U, down * _V, across * _V - down * _U], axis=-1)
        residual = moved - template
        weights = CENTRAL / (1.0 + residual**2)
        curvature = np.einsum("ij,ijk,ijl->kl", weights, slopes, slopes) + np.diag(STIFFNESS)
        slope = np.einsum("ij,ijk->k", weights * residual, slopes) + STIFFNESS * numbers
        step = np.linalg.solve(curvature, slope)
        numbers = np.clip(numbers - step, -LIMITS, LIMITS)
        if float(np.abs(step).max()) < 1e-3:
            break
    return Pose(*(float(number) for number in numbers))


def agreement(film: Floats, pose: Pose, template: Floats) -> float:
    """Correlation, -1..1, of the moved and blurred film with the template."""
    moved = standardised(to_template(gaussian_filter(film, BLUR), pose))
    return float((CENTRAL * moved * standardised(template)).sum() / CENTRAL.sum())


def mean_template(films: list[Floats], rounds: int = 3) -> Floats:
    """The template of a set of films, [SIDE, SIDE]: their mean, registered to it again `rounds` times.

    Poses are centred in each round, so that the template keeps the mean size and place.
    """
    template = standardised(np.mean([gaussian_filter(film, BLUR) for film in films], axis=0))
    for _ in range(rounds):
        poses = np.array([register(film, template) for film in films])
        poses -= poses.mean(axis=0)
        moved = [
            standardised(gaussian_filter(to_template(film, Pose(*pose)), BLUR))
            for film, pose in zip(films, poses, strict=True)
        ]
        template = standardised(np.mean(moved, axis=0))
    return template


def _sample(values: Floats, down: Floats, across: Floats, outside: float | None) -> Floats:
    places = [down * (SIDE / 2) + (SIDE - 1) / 2, across * (SIDE / 2) + (SIDE - 1) / 2]
    if outside is None:
        return np.asarray(map_coordinates(values, places, order=1, mode="nearest"))
    return np.asarray(map_coordinates(values, places, order=1, mode="constant", cval=outside))
