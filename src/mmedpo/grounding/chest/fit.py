"""Fits the chest probe on boxed films, and measures it on patients it never saw, by projection.

What is held out: in each fold whole patients, for everything that is fitted (normal appearance, prior,
weights, calibration). Only the template is one for all: the mean of normal films, no box enters it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from mmedpo.errors import GroundingError
from mmedpo.grounding.chest.model import (
    FEATURES,
    PROJECTIONS,
    ChestCoefficients,
    Film,
    Projection,
    coarse,
    deviations,
    lay,
    pooled,
)
from mmedpo.grounding.chest.registration import SIDE, mean_template, shrink, to_template
from mmedpo.grounding.grounder import resize_map
from mmedpo.grounding.logistic import fit_logistic, fit_platt, group_folds
from mmedpo.records.shapes import Mask, Pixels

PENALTY = 300.0
"""L2 strength of the cell model; fixed beforehand, not chosen on the films measured."""
FILM_PENALTY = 10.0
COMPONENTS = 10
"""Principal patterns the film-wide model may use: with fewer than a hundred lesions more of them fit noise."""
TEMPLATE_FILMS = 100
NORMALS_PER_PROJECTION = 60
"""Normal films the cell model sees of each projection."""
OWN_SHARE = 0.5
"""Share of the projection's own lesions in its prior; the rest is that of all projections."""
LEAST_QUANTILE = 0.01
"""Films of the fitting set below this quantile of agreement would have been refused."""
LEAST_CEILING = 0.7
"""A picture that agrees as well as this is a frontal chest film, however alike the films of the fitting set are."""
INNER_FOLDS = 5
LEAST_SPREAD = 0.03

Floats = NDArray[np.float64]
Key = Literal["pa", "ap"]


@dataclass(frozen=True, eq=False)
class Films:
    """n films over one template, a row each."""

    template: Floats
    films: Sequence[Film]
    cells: Floats
    """[n, GRID, GRID, feature]."""
    shares: Floats
    """[n, GRID, GRID] share of each cell in the lesion."""
    positive: NDArray[np.bool_]
    normal: NDArray[np.bool_]
    pa: NDArray[np.bool_]
    """PA, else AP."""
    patients: NDArray[np.int64]

    def take(self, rows: NDArray[np.bool_]) -> Films:
        """The films where `rows` is True."""
        kept = [film for film, keep in zip(self.films, rows, strict=True) if keep]
        parts = (self.cells, self.shares, self.positive, self.normal, self.pa, self.patients)
        return Films(self.template, kept, *(part[rows] for part in parts))  # type: ignore[arg-type]


def prepare_films(
    images: Sequence[Callable[[], Pixels]],
    lesions: Sequence[Mask],
    normal: Sequence[bool],
    projections: Sequence[str],
    patients: Sequence[int],
    seed: int = 0,
) -> tuple[Films, list[int]]:
    """The films over their common template, and the rows that were usable.

    Args:
        images: reads each film when called.
        lesions: [H, W] masks of any size, all False where nothing is marked.
        projections: `pa`, `ap`; films of other or unknown projection are left out.

    Raises:
        GroundingError: no normal film, or no usable one.
    """
    usable = [place for place, projection in enumerate(projections) if projection in PROJECTIONS]
    clean = [place for place in usable if normal[place]]
    if not clean:
        raise GroundingError(
            "no normal PA or AP film; the chest probe compares films with normal ones of their projection"
        )
    drawn = np.random.default_rng([seed]).permutation(len(clean))[:TEMPLATE_FILMS]
    shrunk = [shrink(images[clean[place]]()) for place in sorted(drawn)]
    template = mean_template([film for film in shrunk if film is not None]).round(3)
    rows, films, shares = [], [], []
    for place in usable:
        film = lay(images[place](), template)
        if film is not None:
            rows.append(place)
            films.append(film)
            small = resize_map(lesions[place].astype(np.float32), SIDE, SIDE).astype(np.float64)
            shares.append(np.clip(pooled(to_template(small, film.pose, 0.0)), 0.0, 1.0))
    if not rows:
        raise GroundingError("no usable film; give frontal chest radiographs with contrast")
    chosen = np.array(rows)
    flags = [np.array(values)[chosen] for values in (normal, [name == "pa" for name in projections], patients)]
    cells = np.stack([film.cells for film in films])
    marked = np.array([bool(lesions[place].any()) for place in rows])
    return Films(template, films, cells, np.stack(shares), marked, flags[0], flags[1], flags[2]), rows


def fit_chest(
    films: Films, *, name: str, label: str, seed: int = 0, beats: dict[Key, bool] | None = None
) -> ChestCoefficients:
    """The probe of all films with a lesion and all normal ones; confidences calibrated on patients held out in turn.

    Args:
        beats: per projection, whether held-out maps beat the position prior; not known: False.

    Raises:
        GroundingError: a projection without lesions or without normal films, or too few patients.
    """
    fitting = films.take(films.positive | films.normal)
    _require_both(fitting)
    fold = group_folds(fitting.patients, fitting.positive, INNER_FOLDS, seed)
    scores = np.zeros(len(fold))
    for number in range(INNER_FOLDS):
        train, test = fitting.take(fold != number), fitting.take(fold == number)
        known = _appearance(train)
        scores[fold == number] = _patterns(test, known) @ _film_weights(_patterns(train, known), train)
    known = _appearance(fitting)
    projections: dict[str, Any] = {}
    for key, rows in (("pa", fitting.pa), ("ap", ~fitting.pa)):
        slope, offset = fit_platt(scores[rows], fitting.positive[rows])
        share = float(fitting.positive[rows].mean())
        # As if half of the films had a lesion: the odds of the fitting set are taken out.
        projections[key] = Projection(
            normal_mean=known[key][0].round(3).tolist(),
            normal_std=known[key][1].round(3).tolist(),
            prior=_prior(fitting, rows).round(3).tolist(),
            platt=(slope, offset - float(np.log(share / (1.0 - share)))) if slope > 0 else (0.0, 0.0),
            beats_prior=bool(beats and beats[key]),  # type: ignore[index]
        )
    linear, intercept = _cell_weights(fitting, known, seed)
    patterns = coarse(fitting.cells)
    view, view_offset = _ridge(patterns, fitting.pa.astype(np.float64), FILM_PENALTY)
    return ChestCoefficients(
        name=name,
        label=label,
        template=films.template.tolist(),
        least_agreement=min(
            LEAST_CEILING, float(np.quantile([film.agreement for film in films.films], LEAST_QUANTILE))
        ),
        projection_weights=view.tolist(),
        projection_offset=view_offset,
        linear=linear.tolist(),
        intercept=intercept,
        film=_film_weights(_patterns(fitting, known), fitting).tolist(),
        projections=projections,
    )


def _require_both(fitting: Films) -> None:
    """Refuses films of which one projection has no lesion or no normal film."""
    for flag, key in ((fitting.pa, "pa"), (~fitting.pa, "ap")):
        if not (flag & fitting.positive).any() or not (flag & fitting.normal).any():
            raise GroundingError(
                f"no {key} film with a lesion, or no normal one; the chest probe is fitted within projections"
            )


Appearance = dict[str, tuple[Floats, Floats]]
"""projection -> mean and deviation [GRID, GRID, feature] of its normal films."""


def _appearance(films: Films) -> Appearance:
    known = {}
    for key, rows in (("pa", films.pa), ("ap", ~films.pa)):
        cells = films.cells[rows & films.normal]
        known[key] = (cells.mean(axis=0), cells.std(axis=0) + LEAST_SPREAD)
    return known


def _deviation(films: Films, known: Appearance) -> Floats:
    out = np.empty_like(films.cells)
    for key, rows in (("pa", films.pa), ("ap", ~films.pa)):
        out[rows] = deviations(films.cells[rows], *known[key])
    return out


def _patterns(films: Films, known: Appearance) -> Floats:
    return coarse(_deviation(films, known))


def _mean_lesion(films: Films, rows: NDArray[np.bool_]) -> Floats:
    """Mean lesion map of the rows with a lesion; each patient counts once."""
    kept = np.flatnonzero(rows & films.positive)
    counts = {number: int((films.patients[kept] == number).sum()) for number in films.patients[kept].tolist()}
    weights = np.array([1.0 / counts[number] for number in films.patients[kept].tolist()])
    return np.asarray(np.average(films.shares[kept], axis=0, weights=weights))


def _prior(films: Films, rows: NDArray[np.bool_]) -> Floats:
    """Log-odds [GRID, GRID] of a lesion in one projection."""
    everyone = np.ones(len(films.pa), dtype=bool)
    mean = OWN_SHARE * _mean_lesion(films, rows) + (1.0 - OWN_SHARE) * _mean_lesion(films, everyone)
    mean = np.clip(gaussian_filter(mean, 0.7), 0.003, 0.997)
    return np.asarray(np.log(mean / (1.0 - mean)))


def _cell_weights(films: Films, known: Appearance, seed: int) -> tuple[Floats, float]:
    chosen = films.positive.copy()
    priors = np.empty(films.shares.shape)
    for rows in (films.pa, ~films.pa):
        priors[rows] = _prior(films, rows)
        clean = np.flatnonzero(rows & films.normal)
        chosen[np.random.default_rng([seed, 1]).permutation(clean)[:NORMALS_PER_PROJECTION]] = True
    inputs = np.concatenate([_deviation(films, known), priors[..., None]], axis=-1)[chosen]
    return _ridge(inputs.reshape(-1, len(FEATURES) + 1), films.shares[chosen].reshape(-1), PENALTY)


def _film_weights(patterns: Floats, films: Films) -> Floats:
    """Weights of the coarse deviations: logistic regression on their first principal patterns.

    Projection is one more input of the fit and then left out, so that a pattern is not credited with the
    lesions being more frequent in one projection.
    """
    centred = patterns - patterns.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:COMPONENTS]
    inputs = np.column_stack([centred @ axes.T, np.where(films.pa, 1.0, -1.0)])
    weights, _ = _ridge(inputs, films.positive.astype(np.float64), FILM_PENALTY)
    return np.asarray(weights[:-1] @ axes)


def _ridge(inputs: Floats, targets: Floats, penalty: float) -> tuple[Floats, float]:
    """Logistic weights and intercept for inputs as they come; the penalty is on standardised ones."""
    centre, spread = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    weights, intercept = fit_logistic((inputs - centre) / spread, targets, penalty)
    weights = weights / spread
    return weights, intercept - float(weights @ centre)
