"""Cross-validation of the chest probe by patient, and the card that comes with its coefficients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import GroundingError
from mmedpo.grounding.annotations import Marked, read_annotations
from mmedpo.grounding.chest.fit import Films, Key, fit_chest, prepare_films
from mmedpo.grounding.chest.model import ChestCoefficients, Film, cell_logits, film_confidence, on_film
from mmedpo.grounding.comparison import POSITION, SIZE, Case, Line, beats, compare, shrink
from mmedpo.grounding.grounder import resize_map
from mmedpo.grounding.logistic import group_folds, sigmoid
from mmedpo.grounding.marking import lesion_mask, open_marked
from mmedpo.grounding.regions import heat_of
from mmedpo.grounding.tables import HOW, counts, tables
from mmedpo.records.shapes import Mask, Pixels

PROBE, LAID = "chest-probe", "position prior laid over the lungs"
"""The second looks at the film only to find the lungs: what the probe's textures add is the difference."""


PEAK, ENERGY = "peak in lesion", "energy in lesion"
APART = f"{PROBE} - {POSITION}"


class Fitted(NamedTuple):
    """A probe and what is known of it."""

    coefficients: ChestCoefficients
    lines: list[Line]
    cases: list[Case]


def fit_chest_probe(
    annotations: Path,
    images: Path,
    *,
    name: str,
    seed: int = 0,
    folds: int = 5,
    measured: Callable[[str], bool] = lambda patient: True,
) -> Fitted:
    """Fits on every film with boxes or known to be normal; measures held-out films of the `measured` patients.

    Args:
        measured: False for patients that were looked at while features were chosen: they are fitted on in
            every fold and never measured.

    Raises:
        GroundingError: unusable files, or too few patients of a projection.
    """
    rows = [row for row in read_annotations(annotations) if row.lesion or row.normal or row.looked_at]
    places = {patient: place for place, patient in enumerate(dict.fromkeys(row.patient for row in rows))}
    readers = [partial(open_marked, images, row) for row in rows]
    lesions = [_lesion(row, reader, annotations.parent) for row, reader in zip(rows, readers, strict=True)]
    normal, projections = [row.normal for row in rows], [row.projection for row in rows]
    films, usable = prepare_films(readers, lesions, normal, projections, [places[row.patient] for row in rows], seed)
    kept = [rows[place] for place in usable]
    held_out = np.array([measured(row.patient) for row in kept])
    masks = [shrink(lesions[place]) for place in usable]
    cases = _cases(films, kept, masks, _folds(films, held_out, folds, seed), held_out, seed)
    lines = compare(cases, (PROBE, LAID), seed)
    won: dict[Key, bool] = {key: beats(lines, PROBE, f"projection {key}") for key in ("pa", "ap")}
    labels = [box.label for row in kept for box in row.boxes if box.label]
    label = max(sorted(set(labels)), key=labels.count, default="lesion")
    return Fitted(fit_chest(films, name=name, label=label, seed=seed, beats=won), lines, cases)


def card_markdown(fitted: Fitted, *, source: str, seed: int, folds: int, notes: str = "") -> str:
    """The card: the verdict per projection first, then every number."""
    verdicts = []
    for key, known in fitted.coefficients.projections.items():
        rows = [
            line
            for line in fitted.lines
            if line.group == f"projection {key}"
            and line.measure in (PEAK, ENERGY)
            and line.who in (PROBE, POSITION, APART)
        ]
        shown = "beats" if known.beats_prior else "is NOT shown to beat"
        told = "; ".join(
            f"{line.measure}, {line.who}: {line.number.value:.2f} ({line.number.low:.2f} to {line.number.high:.2f})"
            for line in rows
        )
        verdicts.append(f"- {key.upper()}: the probe {shown} the position prior. {told or 'Too few patients.'}")
    name = fitted.coefficients.name
    demonstration = not all(known.beats_prior for known in fitted.coefficients.projections.values())
    label = " (a demonstration)" if demonstration else ""
    parts = [
        f"# Chest probe: {name}{label}",
        f"Finding: {fitted.coefficients.label}. {folds}-fold cross-validation by patient, seed {seed}: every film is "
        "measured with a probe that never saw its patient. Only the template, the mean of normal films without "
        "regard to boxes, is common to all folds.",
        "\n".join(verdicts),
        "Where it is not shown to beat the prior, the tool gives no confidence, so that any "
        "`ground.minimum_confidence` leaves its maps out."
        if demonstration
        else "",
        f"Measured films. {counts(fitted.cases)}",
        HOW,
        tables(fitted.lines),
        f"Data: {source}" if source else "",
        notes.strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _folds(films: Films, measured: NDArray[np.bool_], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of every measured film, by patient; -1 for films that are always fitted on."""
    out = np.full(len(measured), -1, dtype=np.int64)
    if not (measured & films.positive).any():
        raise GroundingError("no measured film with a lesion; give boxes of patients that are measured")
    out[measured] = group_folds(films.patients[measured], films.positive[measured], folds, seed)
    return out


def _cases(
    films: Films,
    rows: Sequence[Marked],
    masks: Sequence[Mask],
    fold: NDArray[np.int64],
    measured: NDArray[np.bool_],
    seed: int,
) -> list[Case]:
    cases: list[Case] = []
    for number in range(int(fold.max()) + 1):
        probe = fit_chest(films.take(fold != number), name="fold", label="", seed=seed)
        for place in np.flatnonzero(measured & (fold == number)).tolist():
            key: Key = "pa" if films.pa[place] else "ap"
            film, row = films.films[place], rows[place]
            prior = sigmoid(np.array(probe.projections[key].prior))
            maps = {PROBE: sigmoid(cell_logits(probe, film, key)), LAID: prior}
            case = Case(
                image=row.file,
                patient=row.patient,
                lesion=masks[place],
                normal=row.normal,
                projection=key,
                findings=tuple(sorted({box.label for box in row.boxes if box.label})),
                maps={who: _drawn(values, film) for who, values in maps.items()},
                confidences={PROBE: film_confidence(probe, film, key)},
            )
            cases.append(case)
    return cases


def _drawn(values: NDArray[np.float64], film: Film) -> NDArray[np.float32]:
    heat = heat_of(resize_map(on_film(values, film.pose), SIZE, SIZE))
    return np.zeros((SIZE, SIZE), dtype=np.float32) if heat is None else heat


def _lesion(row: Marked, reader: Callable[[], Pixels], root: Path) -> Mask:
    height, width = reader().shape[:2]
    return lesion_mask(row, height, width, root)
