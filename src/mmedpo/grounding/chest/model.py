"""The chest probe: how a film differs from normal films of its projection, place by place.

A film is laid over the template (`registration`), and in each of GRID x GRID cells five numbers are
taken: brightness at two scales, texture at three. Each is expressed in standard deviations of the
*normal films of the same projection* at the same place, so that what differs between bedside (AP) and
upright (PA) films is no evidence. Linear log-odds of "this cell lies in a lesion" are made of these
five and of where lesions lie in that projection. The heatmap is laid back onto the film.

Whether the film holds a lesion at all is a second, film-wide model on the coarse pattern of the same
deviations. Its score is calibrated within each projection, as if half of the films had a lesion:
0.5 means that the film tells nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from scipy.ndimage import binary_dilation, gaussian_filter

from mmedpo.grounding.chest.registration import (
    SIDE,
    Pose,
    agreement,
    register,
    shrink,
    standardised,
    to_film,
    to_template,
)
from mmedpo.grounding.logistic import sigmoid
from mmedpo.records.shapes import Pixels

GRID = 16
"""Cells per side of the template."""
CELL = SIDE // GRID
FEATURES = ("brightness-1.6", "brightness-3.2", "texture-1", "texture-2", "texture-4")
"""Blurred intensity, and logarithm of the amplitude in an octave of scale; the number is a blur in pixels of 64."""
REACH = 4.0
"""Deviations are clipped to +-REACH standard deviations."""
FILM_CELLS = 6
"""The film-wide model sees the inner FILM_CELLS x FILM_CELLS means of 2 x 2 cells."""
Key = Literal["pa", "ap"]
LUNG_ROWS, LUNG_COLUMNS = slice(12, 46), slice(10, 54)
"""Part of the template that holds the lungs; the air beside the patient lies outside."""
PROJECTIONS: tuple[Key, ...] = ("pa", "ap")

Floats = NDArray[np.float64]
Finite = list[FiniteFloat]
Grid = list[list[FiniteFloat]]


class Projection(BaseModel):
    """What is known of one projection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    normal_mean: list[Grid]
    """[GRID][GRID][feature] mean over normal films."""
    normal_std: list[Grid]
    """[GRID][GRID][feature] standard deviation over normal films, > 0."""
    prior: Grid
    """[GRID][GRID] log-odds of a lesion at each place of the template."""
    platt: tuple[FiniteFloat, FiniteFloat]
    """Slope and offset of the confidence."""
    beats_prior: bool
    """Whether the held-out maps beat the position prior of this projection (lower bound of both differences > 0)."""


class ChestCoefficients(BaseModel):
    """The fitted numbers as they lie in the JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mmedpo-chest-probe"] = "mmedpo-chest-probe"
    version: Literal[1] = 1
    name: str = Field(min_length=1)
    label: str
    """Finding most boxes of the fitting films name."""
    features: tuple[str, ...] = FEATURES
    template: Grid
    """[SIDE][SIDE] mean of registered normal films."""
    least_agreement: FiniteFloat
    """Correlation with the template below which a picture is not taken for a frontal chest radiograph."""
    projection_weights: Finite
    """Weights of the film's coarse pattern that tell PA (positive) from AP, where nobody says which it is."""
    projection_offset: FiniteFloat
    linear: Finite
    """Weight of each deviation, then of the prior."""
    intercept: FiniteFloat
    film: Finite
    """Weight of each coarse deviation in the film's score."""
    projections: dict[Key, Projection]

    @model_validator(mode="after")
    def _lengths(self) -> ChestCoefficients:
        coarse = FILM_CELLS**2 * len(FEATURES)
        if self.features != FEATURES:
            raise ValueError(f"features are {list(self.features)}; this version computes {list(FEATURES)}")
        if set(self.projections) != set(PROJECTIONS):
            raise ValueError("projections must be pa and ap")
        wanted = {"linear": len(FEATURES) + 1, "film": coarse, "projection_weights": coarse}
        for field, length in wanted.items():
            if len(getattr(self, field)) != length:
                raise ValueError(f"{field} has {len(getattr(self, field))} numbers; allowed: {length}")
        shapes: list[tuple[object, tuple[int, ...]]] = [
            (self.template, (SIDE, SIDE)),
            *((one.prior, (GRID, GRID)) for one in self.projections.values()),
        ]
        for one in self.projections.values():
            shapes.append((one.prior, (GRID, GRID)))
            shapes += [(one.normal_mean, (GRID, GRID, len(FEATURES))), (one.normal_std, (GRID, GRID, len(FEATURES)))]
        for values, shape in shapes:
            if _shape(values) != shape:
                raise ValueError(f"a table must have shape {list(shape)}")
        if any(np.min(one.normal_std) <= 0 for one in self.projections.values()):
            raise ValueError("normal_std must be positive")
        return self


class Film(NamedTuple):
    """One film laid over a template."""

    pose: Pose
    agreement: float
    """Correlation with the template, -1..1."""
    cells: Floats
    """[GRID, GRID, feature]."""


def lay(image: Pixels, template: Floats) -> Film | None:
    """Registers a film and takes its features; None for a picture without contrast.

    Raises:
        GroundingError: image of a wrong type or shape.
    """
    small = shrink(image)
    if small is None:
        return None
    pose = register(small, template)
    return Film(pose, agreement(small, pose, template), features(to_template(small, pose)))


def features(moved: Floats) -> Floats:
    """FEATURES [GRID, GRID, 5] of a film [SIDE, SIDE] on the template."""
    film = standardised(moved)
    planes = [gaussian_filter(film, blur) for blur in (1.6, 3.2)]
    for scale in (1.0, 2.0, 4.0):
        octave = gaussian_filter(film, scale / 2) - gaussian_filter(film, scale)
        planes.append(np.log(np.sqrt(gaussian_filter(octave**2, 2.0)) + 0.01))
    return pooled(np.stack(planes, axis=-1))


def pooled(values: Floats) -> Floats:
    """Mean of each cell: [SIDE, SIDE, ...] to [GRID, GRID, ...]."""
    return np.asarray(values.reshape(GRID, CELL, GRID, CELL, *values.shape[2:]).mean(axis=(1, 3)))


def deviations(cells: Floats, mean: Floats, std: Floats) -> Floats:
    """[..., GRID, GRID, feature] in standard deviations of the normal films, clipped."""
    return np.asarray(np.clip((cells - mean) / std, -REACH, REACH))


def coarse(deviation: Floats) -> Floats:
    """[..., GRID, GRID, feature] to the flat pattern [..., FILM_CELLS^2 * feature] of the inner 2 x 2 cells."""
    *lead, _, _, kinds = deviation.shape
    half = GRID // 2
    means = deviation.reshape(*lead, half, 2, half, 2, kinds).mean(axis=(-4, -2))
    rim = (half - FILM_CELLS) // 2
    return np.asarray(means[..., rim : half - rim, rim : half - rim, :].reshape(*lead, -1))


def on_film(probabilities: Floats, pose: Pose) -> Floats:
    """Cell probabilities [GRID, GRID] as a smooth map [SIDE, SIDE] of the film."""
    large = gaussian_filter(np.kron(probabilities, np.ones((CELL, CELL))), CELL / 2)
    return to_film(large, pose)


def cell_logits(fitted: ChestCoefficients, film: Film, projection: Key) -> Floats:
    """Log-odds [GRID, GRID] that a cell lies in a lesion, were the film of that projection."""
    known = fitted.projections[projection]
    deviation = deviations(film.cells, np.array(known.normal_mean), np.array(known.normal_std))
    weights = np.array(fitted.linear)
    return np.asarray(deviation @ weights[:-1] + weights[-1] * np.array(known.prior) + fitted.intercept)


def film_confidence(fitted: ChestCoefficients, film: Film, projection: Key) -> float:
    """Calibrated probability of a lesion, were the film of that projection and half of the films had one."""
    known = fitted.projections[projection]
    score = coarse(deviations(film.cells, np.array(known.normal_mean), np.array(known.normal_std))) @ np.array(
        fitted.film
    )
    slope, offset = known.platt
    return float(sigmoid(np.asarray(slope * score + offset)))


def chance_of_pa(fitted: ChestCoefficients, film: Film) -> float:
    """How likely the film is PA rather than AP, from its pattern alone."""
    pattern = coarse(film.cells)
    return float(sigmoid(np.asarray(pattern @ np.array(fitted.projection_weights) + fitted.projection_offset)))


def lung_fields(fitted: ChestCoefficients, image: Pixels) -> Floats | None:
    """The lungs of a film, 0..1 [SIDE, SIDE]: what is dark inside the template's chest, and a margin.

    None for a picture that is unlike a frontal chest film.
    """
    template = np.array(fitted.template)
    film = lay(image, template)
    if film is None or film.agreement < fitted.least_agreement:
        return None
    inside = np.zeros((SIDE, SIDE), dtype=bool)
    inside[LUNG_ROWS, LUNG_COLUMNS] = template[LUNG_ROWS, LUNG_COLUMNS] < 0
    grown = gaussian_filter(binary_dilation(inside, iterations=2).astype(np.float64), 1.0)
    return np.clip(to_film(grown, film.pose), 0.0, 1.0)


def _shape(values: object) -> tuple[int, ...]:
    try:
        return np.asarray(values, dtype=np.float64).shape
    except ValueError:
        return ()
