"""Does it look? The probes that end in a share of questions, in one score. Pure.

Each part is 0 for a model that never looks and at most 1, and each weighs the same, however many questions it could
ask. Images are resampled for all parts at once, for they stand on the same ones. While a part is missing there is no
score: a mean of what happened to be measured could not be compared with any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmedpo.evaluate.probes import Probe
from mmedpo.evaluate.statistics import mean_of_means
from mmedpo.records import LooksMean, LooksPart, LooksScore, Measurement
from mmedpo.registry import lookup

PARTS = (
    "hallucinated-twin",
    "same-label",
    "mirrored-side",
    "negated-twin",
    "rephrased",
    "false-premise",
    "language-prior",
)
"""The probes it is made of."""


class Headlines(NamedTuple):
    """The headline quantity of one probe."""

    values: Mapping[str, Mapping[str, float]]
    """Model -> question -> value."""
    images: Mapping[str, str]
    """Question -> image."""


def headlines_of(probe: Probe[Any], rows: Mapping[str, Sequence[Measurement]]) -> Headlines:
    """Of what a probe measured of every model."""
    values = {model: probe.values(own)[probe.headline] for model, own in rows.items()}
    return Headlines(values, {row.example_id: row.image_sha256 for own in rows.values() for row in own})


def looks_score(
    found: Mapping[str, Headlines], asked: Sequence[str], models: Sequence[str], samples: int
) -> LooksScore | None:
    """The score of every model and the differences to the first; None where no part of it was measured.

    Args:
        found: probe -> what it found; those alone that measured something on two images or more.
        asked: probes of the recipe.
        models: in the order of the run.
        samples: resamples behind each interval.
    """
    if not any(name in found for name in PARTS):
        return None
    parts = tuple(
        LooksPart(probe=name, title=lookup("probe", name).title, missing=_missing(name, found, asked)) for name in PARTS
    )
    if any(part.missing for part in parts):
        return LooksScore(parts=parts)
    own = [found[name] for name in PARTS]
    images = {question: image for part in own for question, image in part.images.items()}
    first, *later = models
    means = []
    for model in models:
        got = mean_of_means([part.values[model] for part in own], images, samples=samples, seed=0)
        means.append(LooksMean(model=model, mean=got.estimate, low=got.low, high=got.high))
    for model in later:
        changes = [_change(part.values[model], part.values[first]) for part in own]
        got = mean_of_means(changes, images, samples=samples, seed=0)
        change = LooksMean(model=model, against=first, mean=got.estimate, low=got.low, high=got.high)
        means.append(change.model_copy(update={"p_value": got.p_value}))
    return LooksScore(parts=parts, means=tuple(means), questions=got.n_items, images=got.n_clusters)


def _missing(name: str, found: Mapping[str, Headlines], asked: Sequence[str]) -> str:
    if name in found:
        return ""
    return "it had no question to ask, or one image only" if name in asked else "it is not among evaluate.probes"


def _change(after: Mapping[str, float], before: Mapping[str, float]) -> Mapping[str, float]:
    return {question: after[question] - before[question] for question in before}
