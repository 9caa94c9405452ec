"""Fits a patch probe on a set of boxes, and measures it honestly: `mmedpo ground fit`.

The measures are taken by cross-validation over patients, always beside the *position prior*: the
mean box map of the same fitting folds, drawn with the same normalisation, which looks at no pixel.
A localiser that does not beat it has learned where lesions usually are, not where this one is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from mmedpo.errors import GroundingError
from mmedpo.grounding.features import patch_features
from mmedpo.grounding.grounder import resize_map
from mmedpo.grounding.logistic import group_folds, sigmoid
from mmedpo.grounding.regions import boxes_mask
from mmedpo.grounding.tools.patch_probe import (
    Lesion,
    PatchProbe,
    fit_features,
    patch_target,
    pooled,
    position_prior,
    upsample,
)
from mmedpo.records import Box
from mmedpo.records.shapes import Floats, Mask, Pixels

EVALUATION_SIZE = 224
"""Maps and lesion masks are compared at this side length."""
DRAWS = 2000
"""Bootstrap draws; whole patients are drawn."""
NORMAL_CLASS = "Normal"
"""RSNA class that says a radiologist looked and found nothing; any other class without boxes is not a known normal."""


class Measure(BaseModel):
    """A number with its 95 % bootstrap interval over patients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float
    n: int
    """Images it is taken over."""


class Card(BaseModel):
    """How a probe was fitted and measured; `card_markdown` prints it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    label: str
    source: str
    """Data and attribution."""
    images_with_lesion: int
    images_normal: int
    images_other: int
    """Looked at, neither boxed nor normal: not fitted on, only scored."""
    patients: int
    folds: int
    seed: int
    protocol: str
    """How held-out maps were made."""
    measures: dict[str, Measure]


@dataclass(frozen=True, eq=False)
class Cases:
    """Arrays of n annotated images, one row each."""

    features: Floats
    """[n, GRID, GRID, D]."""
    targets: Floats
    """[n, GRID, GRID] share of each patch in the lesion."""
    lesions: Mask
    """[n, EVALUATION_SIZE, EVALUATION_SIZE]."""
    positive: NDArray[np.bool_]
    """[n] has a lesion."""
    normal: NDArray[np.bool_]
    """[n] known to have none; where neither holds the image is only scored."""
    groups: NDArray[np.int64]
    """[n] patient."""

    def take(self, rows: NDArray[np.bool_]) -> Cases:
        """The cases where `rows` is True."""
        return Cases(
            self.features[rows],
            self.targets[rows],
            self.lesions[rows],
            self.positive[rows],
            self.normal[rows],
            self.groups[rows],
        )


def prepare(
    images: Sequence[Pixels], lesions: Sequence[Lesion], normal: Sequence[bool], groups: Sequence[int]
) -> Cases:
    """Cases from images with masks or boxes; images without contrast are left out.

    Args:
        lesions: mask or boxes; None or empty where no lesion is marked.
        normal: True where the image is known to have no lesion.

    Raises:
        GroundingError: an image both marked and normal, or nothing usable.
    """
    rows = []
    for place, (image, lesion, clean, group) in enumerate(zip(images, lesions, normal, groups, strict=True)):
        target = patch_target(lesion, image.shape[0], image.shape[1])
        if clean and target.any():
            raise GroundingError(f"image {place} is called normal but has a lesion marked; decide which")
        features = patch_features(image)
        if features is not None:
            rows.append((features, target, _small_mask(lesion, image), bool(target.any()), clean, group))
    if not rows:
        raise GroundingError("no usable image; give images with boxes and images known to be normal")
    columns = list(zip(*rows, strict=True))
    return Cases(
        np.stack(columns[0]),
        np.stack(columns[1]),
        np.stack(columns[2]),
        np.array(columns[3], dtype=bool),
        np.array(columns[4], dtype=bool),
        np.array(columns[5], dtype=np.int64),
    )


def fit_from_boxes(
    cases: Cases, *, name: str, label: str, source: str, seed: int = 0, folds: int = 5
) -> tuple[PatchProbe, Card]:
    """The probe fitted on all positive and normal cases, and its card from cross-validation by patient.

    Raises:
        GroundingError: fewer patients with a lesion than folds, or no normal image.
    """
    if not cases.normal.any():
        raise GroundingError("no image known to be normal; the confidence cannot be calibrated without any")
    fold = group_folds(cases.groups, cases.positive, folds, seed)
    n = len(fold)
    maps, priors = np.zeros(cases.targets.shape), np.zeros(cases.targets.shape)
    scores, confidences = np.zeros(n), np.zeros(n)
    for number in range(folds):
        train, test = (fold != number) & (cases.positive | cases.normal), fold == number
        probe = _fit(cases.take(train), name, label, seed)
        logits = probe.logits(cases.features[test])
        maps[test], scores[test] = sigmoid(logits), pooled(logits)
        confidences[test] = [probe.confidence(one) for one in logits]
        priors[test] = sigmoid(position_prior(cases.targets[train & cases.positive]))
    measures = measure(cases, maps, priors, scores, confidences, seed)
    protocol = f"{folds}-fold cross-validation by patient; every image is scored by a probe that never saw its patient"
    card = _card(cases, name, label, source, folds, seed, protocol, measures)
    return _fit(cases.take(cases.positive | cases.normal), name, label, seed), card


def measure_on(probe: PatchProbe, fitted_on: Cases, held_out: Cases, *, source: str, seed: int = 0) -> Card:
    """The card of a probe on a separate test set; the position prior is that of the cases it was fitted on."""
    logits = probe.logits(held_out.features)
    prior = sigmoid(position_prior(fitted_on.targets[fitted_on.positive]))
    priors = np.broadcast_to(prior, held_out.targets.shape)
    confidences = np.array([probe.confidence(one) for one in logits])
    measures = measure(held_out, sigmoid(logits), priors, pooled(logits), confidences, seed)
    count, clean = int(fitted_on.positive.sum()), int(fitted_on.normal.sum())
    protocol = f"fitted on {count} images with and {clean} without a lesion; the numbers are from a separate test set"
    return _card(held_out, probe.coefficients.name, probe.coefficients.label, source, 0, seed, protocol, measures)


def fit_probe(
    annotations: Path,
    images_root: Path,
    out: Path,
    seed: int = 0,
    folds: int = 5,
    *,
    source: str = "",
) -> Card:
    """Fits a probe on an annotation file, writes `out` (JSON) and its card beside it (`.md`), returns the card.

    The file is a JSON list of {file, boxes: [{xyxy, label}], patient_id, rsna_class}. An entry with
    boxes has a lesion; `rsna_class` "Normal" (or `normal: true`) without boxes is a known normal;
    another class without boxes is scored but not fitted on; no class and no boxes means *not
    annotated*, and the entry is skipped.

    Raises:
        GroundingError: file missing or malformed, an image unreadable or outside `images_root`, or too few boxes.
    """
    rows = [row for row in _read(annotations) if row["boxes"] or row.get("rsna_class") or row.get("normal")]
    images, lesions, normal, groups = [], [], [], []
    patients: dict[str, int] = {}
    labels: list[str] = []
    for row in rows:
        images.append(_open(images_root, row["file"]))
        boxes = [_box(raw, row["file"]) for raw in row["boxes"]]
        labels.extend(box.label for box in boxes if box.label)
        lesions.append(boxes)
        normal.append(not boxes and (row.get("normal") is True or row.get("rsna_class") == NORMAL_CLASS))
        groups.append(patients.setdefault(str(row["patient_id"]), len(patients)))
    cases = prepare(images, lesions, normal, groups)
    label = max(sorted(set(labels)), key=labels.count, default="lesion")
    probe, card = fit_from_boxes(cases, name=out.stem, label=label, source=source, seed=seed, folds=folds)
    out.parent.mkdir(parents=True, exist_ok=True)
    probe.save(out)
    out.with_suffix(".md").write_text(card_markdown(card), encoding="utf-8")
    return card


def measure(
    cases: Cases, maps: Floats, priors: Floats, scores: Floats, confidences: Floats, seed: int
) -> dict[str, Measure]:
    """Every measure of held-out patch maps [n, GRID, GRID] beside those of the position prior.

    peak hit: the map's peak lies in the lesion (pointing game). energy: share of the heatmap's sum
    inside the lesion, for the heatmap the noise uses; `raw energy`: the same for the patch
    probabilities themselves. mean heat: how much of the lesion the noise covers. AUC: images with a
    lesion against normals, and against the others.
    """
    rows = np.flatnonzero(cases.positive)
    groups = cases.groups
    found = np.array([_localisation(maps[row], cases.lesions[row]) for row in rows])
    usual = np.array([_localisation(priors[row], cases.lesions[row]) for row in rows])
    out: dict[str, Measure] = {}
    for column, what in enumerate(("peak hit", "energy in lesion", "raw energy in lesion", "mean heat in lesion")):
        for who, values in (("probe", found), ("position prior", usual), ("difference", found - usual)):
            out[f"{what}: {who}"] = _bootstrap(_mean_of(values[:, column]), groups[rows], seed)
    area = cases.lesions[rows].mean(axis=(1, 2))
    out["area of the lesion"] = _bootstrap(_mean_of(area), groups[rows], seed)
    other = ~cases.positive & ~cases.normal
    for against, negative in (("normal", cases.normal), ("other", other)):
        if negative.any():
            kept = cases.positive | negative
            statistic = _auc_of(scores[kept], cases.positive[kept])
            out[f"image AUC: lesion against {against}"] = _bootstrap(statistic, groups[kept], seed)
    kept = cases.positive | cases.normal
    squared = (confidences[kept] - cases.positive[kept]) ** 2
    out["Brier score of the confidence"] = _bootstrap(_mean_of(squared), groups[kept], seed)
    return out


def card_markdown(card: Card) -> str:
    """The card as a Markdown page."""
    lines = [
        f"# Patch probe: {card.name}",
        "",
        f"Finding: {card.label}. {card.protocol}.",
        "",
        f"Measured on {card.images_with_lesion} images with a lesion, {card.images_normal} known normal and "
        f"{card.images_other} others, {card.patients} patients; seed {card.seed}. "
        f"Intervals: 95 %, {DRAWS} bootstrap draws of whole patients.",
        "",
        "| measure | value | 95 % interval | images |",
        "|---|---|---|---|",
    ]
    for what, number in card.measures.items():
        lines.append(f"| {what} | {number.value:.3f} | {number.low:.3f} to {number.high:.3f} | {number.n} |")
    lines += ["", "The position prior is the mean lesion map of the fitting images: it looks at no pixel."]
    if card.source:
        lines += ["", f"Data: {card.source}"]
    return "\n".join(lines) + "\n"


def auc(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Probability that a positive image outscores a negative one, ties counted half (Mann-Whitney)."""
    order = np.sort(scores[~positive])
    below = np.searchsorted(order, scores[positive], side="left")
    not_above = np.searchsorted(order, scores[positive], side="right")
    return float((below + not_above).mean() / (2 * len(order)))


def _localisation(probabilities: Floats, lesion: Mask) -> tuple[float, float, float, float]:
    """Peak hit, heatmap energy, raw energy and mean heat in the lesion of one map."""
    raw = resize_map(probabilities, *lesion.shape)
    heatmap = upsample(probabilities, *lesion.shape)
    peak = np.unravel_index(int(raw.argmax()), raw.shape)
    raw_energy = float(raw[lesion].sum() / raw.sum())
    if heatmap is None:
        return float(lesion[peak]), 0.0, raw_energy, 0.0
    return float(lesion[peak]), float(heatmap[lesion].sum() / heatmap.sum()), raw_energy, float(heatmap[lesion].mean())


Statistic = Callable[[NDArray[np.int64]], float]


def _mean_of(values: Floats) -> Statistic:
    return lambda rows: float(values[rows].mean())


def _auc_of(scores: Floats, positive: NDArray[np.bool_]) -> Statistic:
    def value(rows: NDArray[np.int64]) -> float:
        drawn = positive[rows]
        return auc(scores[rows], drawn) if drawn.any() and not drawn.all() else float("nan")

    return value


def _bootstrap(statistic: Statistic, groups: NDArray[np.int64], seed: int) -> Measure:
    """Percentile interval over draws of whole patients; draws of one class only say nothing and are left out."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    rng = np.random.default_rng([seed, len(groups)])
    everything = np.arange(len(groups), dtype=np.int64)
    values = []
    for _ in range(DRAWS):
        chosen = rng.integers(len(members), size=len(members))
        values.append(statistic(np.concatenate([members[place] for place in chosen])))
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Measure(value=statistic(everything), low=float(low), high=float(high), n=len(groups))


def _fit(cases: Cases, name: str, label: str, seed: int) -> PatchProbe:
    parts = (cases.features, cases.targets, cases.positive, cases.groups)
    return PatchProbe(fit_features(*parts, seed, name=name, label=label))


def _card(
    cases: Cases, name: str, label: str, source: str, folds: int, seed: int, protocol: str, measures: dict[str, Measure]
) -> Card:
    return Card(
        name=name,
        label=label,
        source=source,
        images_with_lesion=int(cases.positive.sum()),
        images_normal=int(cases.normal.sum()),
        images_other=int((~cases.positive & ~cases.normal).sum()),
        patients=len(np.unique(cases.groups)),
        folds=folds,
        seed=seed,
        protocol=protocol,
        measures=measures,
    )


def _small_mask(lesion: Lesion, image: Pixels) -> Mask:
    """The lesion at EVALUATION_SIZE; a pixel belongs to it when at least half covered."""
    height, width = image.shape[:2]
    if lesion is None:
        return np.zeros((EVALUATION_SIZE, EVALUATION_SIZE), dtype=bool)
    mask = lesion if isinstance(lesion, np.ndarray) else boxes_mask(lesion, height, width)
    return resize_map(mask.astype(np.float32), EVALUATION_SIZE, EVALUATION_SIZE) >= 0.5


def _read(annotations: Path) -> list[dict[str, Any]]:
    if not annotations.is_file():  # a pipe or device might never end
        raise GroundingError(f"cannot read the annotations {annotations}: not a file")
    try:
        rows = json.loads(annotations.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise GroundingError(f"cannot read the annotations {annotations}: {error}") from error
    if not isinstance(rows, list):
        raise GroundingError(f"annotations {annotations} hold a {type(rows).__name__}; allowed: a JSON list of objects")
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or not {"file", "boxes", "patient_id"} <= row.keys():
            raise GroundingError(f"annotations {annotations}, entry {place}: needs the keys file, boxes and patient_id")
    return rows


def _box(raw: Any, file: str) -> Box:
    try:
        x0, y0, x1, y1 = (float(number) for number in raw["xyxy"])
    except (KeyError, TypeError, ValueError) as error:
        raise GroundingError(f"{file}: box {raw!r} is not usable; allowed: {{xyxy: [x0, y0, x1, y1]}}") from error
    return Box(x0=x0, y0=y0, x1=x1, y1=y1, label=str(raw.get("label", "")))


def _open(root: Path, file: str) -> Pixels:
    """Grey pixels of one image; the path must stay below the root."""
    path = (root / file).resolve()
    if not path.is_relative_to(root.resolve()):
        raise GroundingError(f"image {file!r} lies outside {root}; give paths relative to the images' folder")
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"), dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise GroundingError(f"cannot read the image {path}: {error}") from error
