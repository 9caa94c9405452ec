"""Visual tools beside each other and beside two maps that look at no pixel, by projection, finding and size. Pure.

The *position prior* of an image is the mean lesion map of all other patients of its projection (of all
patients where fewer than FEWEST have that projection). The *centre prior* is one Gaussian bump. A tool
that does not beat both has learned where lesions usually are, not where this one is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.ndimage import gaussian_filter

from mmedpo.grounding.grounder import resize_map
from mmedpo.grounding.measures import (
    Measure,
    auc_by_patient,
    calibration_by_patient,
    centre_prior,
    localisation,
    mean_by_patient,
)
from mmedpo.grounding.regions import heat_of
from mmedpo.records.shapes import Mask

SIZE = 224
"""Maps and lesions are compared at this side length."""
SMOOTHING = SIZE / 32
"""Blur of the mean lesion map, pixels: a mean of few boxes has corners that are nobody's lesion."""
FEWEST = 5
"""Patients a group needs to get rows of its own."""
POSITION, CENTRE = "position prior", "centre prior"
EVERYTHING = "all"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Case:
    """One image, what is known of it, and what each tool said."""

    image: str
    patient: str
    lesion: Mask
    """[SIZE, SIZE]; all False where nothing is marked."""
    normal: bool
    """Known to hold no lesion; an image that is neither marked nor normal is scored against both."""
    projection: str = ""
    findings: tuple[str, ...] = ()
    maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """tool -> [SIZE, SIZE], not negative; a tool without a map here is unscored on this image."""
    confidences: Mapping[str, float] = field(default_factory=dict)
    """tool -> 0..1; a tool that gives none is left out."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """tool -> why there is no map or no confidence."""

    @property
    def positive(self) -> bool:
        """Whether a lesion is marked."""
        return bool(self.lesion.any())


class Line(BaseModel):
    """One number of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str
    """`all`, `projection pa`, `finding Lung Opacity`, `size small` ..."""
    measure: str
    who: str
    """A tool, a prior, or `TOOL - PRIOR`."""
    number: Measure


def shrink(mask: NDArray[np.bool_]) -> Mask:
    """A lesion mask at SIZE; a pixel belongs to it when at least half covered, and the most covered ones always do."""
    share = resize_map(mask.astype(np.float32), SIZE, SIZE)
    small: Mask = share >= min(0.5, float(share.max())) if mask.any() else np.zeros((SIZE, SIZE), dtype=bool)
    return small


def compare(cases: Sequence[Case], tools: Sequence[str], seed: int = 0) -> list[Line]:
    """Every measure of every tool and prior in every group that has FEWEST patients with a lesion.

    Localisation is a mean over patients of the mean over their images; its intervals draw patients.
    `TOOL - PRIOR` compares on the images where the tool gave a map. Image AUC sets images with a lesion
    against normal ones, and against others, *of the same group*.
    """
    marked = [case for case in cases if case.positive]
    priors = dict(zip((case.image for case in marked), position_priors(marked), strict=True))
    scores: dict[tuple[str, str], dict[str, float]] = {}
    bump = _drawn(centre_prior(SIZE, SIZE))
    for case in marked:
        maps: dict[str, NDArray[np.floating]] = {**case.maps, POSITION: priors[case.image], CENTRE: bump}
        for who in (*tools, POSITION, CENTRE):
            if who in maps:
                scores[case.image, who] = localisation(maps[who], case.lesion)
    lines: list[Line] = []
    for name, belongs in groups(cases):
        inside = [case for case in cases if belongs(case)]
        if len({case.patient for case in inside if case.positive}) < FEWEST and name != EVERYTHING:
            continue
        lines += _localised(name, [case for case in inside if case.positive], tools, scores, seed)
        for tool in tools:
            lines += _told(name, inside, tool, seed)
    return lines


def position_priors(marked: Sequence[Case]) -> list[Floats]:
    """The position prior [SIZE, SIZE] of each case, drawn as a tool's map is; nothing of its own patient is in it."""
    patients: dict[tuple[str, str], list[Mask]] = {}
    for case in marked:
        patients.setdefault((case.patient, case.projection), []).append(case.lesion)
    means = {key: np.mean(masks, axis=0) for key, masks in patients.items()}
    priors: dict[tuple[str, str], Floats] = {}
    for patient, projection in patients:
        others = {key: mean for key, mean in means.items() if key[0] != patient}
        alike = [mean for key, mean in others.items() if key[1] == projection]
        chosen = alike if len(alike) >= FEWEST else list(others.values())
        mean = gaussian_filter(np.mean(chosen, axis=0), SMOOTHING) if chosen else np.ones((SIZE, SIZE))
        priors[patient, projection] = _drawn(mean)
    return [priors[case.patient, case.projection] for case in marked]


def _drawn(values: Floats) -> Floats:
    """As a tool's map of probabilities is drawn; a flat one stays as it is."""
    heat = heat_of(values)
    return values if heat is None else heat.astype(np.float64)


def groups(cases: Sequence[Case]) -> Iterator[tuple[str, Callable[[Case], bool]]]:
    """Name of each group and who belongs to it; images without a lesion belong to every finding and size.

    Sizes: below and above the median area of the marked lesions.
    """
    yield EVERYTHING, lambda case: True
    for projection in sorted({case.projection for case in cases} - {""}):
        yield f"projection {projection}", lambda case, wanted=projection: case.projection == wanted  # type: ignore[misc]
    for finding in sorted({finding for case in cases for finding in case.findings}):
        yield (
            f"finding {finding}",
            lambda case, wanted=finding: not case.positive or wanted in case.findings,  # type: ignore[misc]
        )
    areas = [float(case.lesion.mean()) for case in cases if case.positive]
    if areas:
        middle = float(np.median(areas))
        yield f"size up to {middle:.1%}", lambda case: not case.positive or float(case.lesion.mean()) <= middle
        yield f"size above {middle:.1%}", lambda case: not case.positive or float(case.lesion.mean()) > middle


def beats(lines: Sequence[Line], tool: str, group: str) -> bool:
    """Whether both intervals of `tool - position prior` (peak and energy in the lesion) lie above 0 in that group."""
    lows = [
        line.number.low
        for line in lines
        if line.group == group
        and line.who == f"{tool} - {POSITION}"
        and line.measure in ("peak in lesion", "energy in lesion")
    ]
    return len(lows) == 2 and min(lows) > 0


def _localised(
    group: str,
    marked: Sequence[Case],
    tools: Sequence[str],
    scores: Mapping[tuple[str, str], Mapping[str, float]],
    seed: int,
) -> Iterator[Line]:
    numbers = {patient: place for place, patient in enumerate(dict.fromkeys(case.patient for case in marked))}
    patients = np.array([numbers[case.patient] for case in marked], dtype=np.int64)
    for measure in next(iter(scores.values()), {}):
        values = {
            who: np.array([scores.get((case.image, who), {}).get(measure, np.nan) for case in marked])
            for who in (*tools, POSITION, CENTRE)
        }
        for who, every in values.items():
            yield Line(group=group, measure=measure, who=who, number=mean_by_patient(every, patients, seed))
        for tool in tools:
            for prior in (POSITION, CENTRE):
                apart = mean_by_patient(values[tool] - values[prior], patients, seed)
                yield Line(group=group, measure=measure, who=f"{tool} - {prior}", number=apart)


def _told(group: str, inside: Sequence[Case], tool: str, seed: int) -> Iterator[Line]:
    """Whether the confidence tells images with a lesion from normal ones and from others, and how honest it is."""
    told = [case for case in inside if tool in case.confidences]
    kinds = {"normal": [case for case in told if case.normal], "other": [c for c in told if not c.normal]}
    kinds["other"] = [case for case in kinds["other"] if not case.positive]
    for against, negatives in kinds.items():
        both = [case for case in told if case.positive] + negatives
        if not negatives or len(both) == len(negatives):
            continue
        sure = np.array([case.confidences[tool] for case in both])
        positive = np.array([case.positive for case in both])
        numbers = {patient: place for place, patient in enumerate(dict.fromkeys(case.patient for case in both))}
        patients = np.array([numbers[case.patient] for case in both], dtype=np.int64)
        number = auc_by_patient(sure, positive, patients, seed)
        yield Line(group=group, measure=f"confidence AUC against {against}", who=tool, number=number)
        if against == "normal":
            number = calibration_by_patient(sure, positive, patients, seed)
            yield Line(group=group, measure="calibration error", who=tool, number=number)
