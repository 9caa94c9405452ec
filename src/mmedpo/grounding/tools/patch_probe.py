"""A lesion localiser fitted on a few boxes: logistic regression on patch statistics.

Each of the 14 x 14 patches is described by the features of `mmedpo.grounding.features` and the
log-odds of the mean box map of the fitting images (the position prior); these, their squares and
their products enter one logistic model of "this patch lies in a lesion". It runs in milliseconds,
has no dependency on a network, and its coefficients are a readable JSON file.

Heatmap: patch probabilities p, upsampled bilinearly to the image, then
h = clip((p - q) / (top - q), 0, 1) with q the 85th percentile of the patch probabilities and
top = min(max p, max(0.3, q + 0.1)). So the peak is always 1, every place more likely than 0.3 (about
three times the usual share of lesion) is noised in full, and 85 % of the patches stay untouched.
How sure the probe is that there is a lesion at all is the confidence, not the heat.

Confidence: sigmoid(slope * s + offset), s the mean of the 20 highest patch logits, slope and
offset fitted by Platt's method on images held out by patient. It holds for the share of lesions in
the fitting images (`prevalence`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from mmedpo.config.groups import Settings
from mmedpo.errors import GroundingError
from mmedpo.grounding.features import FEATURES, GRID, patch_features
from mmedpo.grounding.grounder import UNKNOWN, About, Region, needs, resize_map
from mmedpo.grounding.logistic import fit_logistic, fit_platt, group_folds, sigmoid
from mmedpo.grounding.regions import boxes_mask, components
from mmedpo.records import Box
from mmedpo.records.shapes import Floats, Heatmap, Mask, Pixels
from mmedpo.registry import register

Lesion = Mask | Sequence[Box] | None
"""Where the lesion of one fitting image is; None when unknown or absent."""

INPUTS = (*FEATURES, "position-prior")
PAIRS = tuple(np.stack(np.triu_indices(len(INPUTS))).T.tolist())
"""Index pairs (i <= j) of the squares and products."""
REACH = 4.0
"""Standardised inputs are clipped to +-REACH: products of outliers must not rule the map."""
PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)
"""L2 strengths tried; the one with the least held-out cross-entropy per patch is taken."""
POOLED = 20
"""Number of highest patch logits whose mean is the image's score (a tenth of the patches)."""
BACKGROUND_QUANTILE = 0.85
FULL_HEAT = 0.3
"""Patch probability from which on the heat is 1; chosen for lesion coverage against spill outside."""
LEAST_RANGE = 0.1
"""Full heat lies at least this far above the background, where the peak allows."""
BOX_LEVEL = 0.5
"""Heat from which on a pixel belongs to a marked box."""
INNER_FOLDS = 5
SHIPPED = ("phantom",)
NOT_FITTED = (1.0, 0.0)

Finite = list[FiniteFloat]


class Coefficients(BaseModel):
    """The fitted numbers, as they lie in the JSON file; lengths are checked on loading."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["mmedpo-patch-probe"] = "mmedpo-patch-probe"
    version: Literal[1] = 1
    name: str = Field(min_length=1)
    """Which probe this is, e.g. `chest-xray`."""
    label: str
    """Finding the boxes of the fitting images named."""
    modalities: tuple[str, ...] = ()
    """What the fitting images were, e.g. `xray`; images of which the data say otherwise are skipped. Empty: any."""
    organs: tuple[str, ...] = ()
    """As `modalities`, e.g. `chest`."""
    inputs: tuple[str, ...] = INPUTS
    """Names of the inputs; must be those this version computes."""
    penalty: FiniteFloat
    """L2 strength of the fit."""
    prior: list[list[FiniteFloat]]
    """[GRID][GRID] log-odds of the smoothed mean lesion map of the fitting images."""
    centre: Finite
    """Mean of each input over the fitting patches."""
    scale: Finite
    """Standard deviation of each input over the fitting patches, > 0."""
    linear: Finite
    """Weight of each standardised input."""
    products: Finite
    """Weight of each product of two standardised inputs, in the order of PAIRS."""
    intercept: FiniteFloat
    platt: tuple[FiniteFloat, FiniteFloat]
    """Slope and offset of the calibration."""
    prevalence: float = Field(gt=0, lt=1)
    """Share of images with a lesion among those the calibration was fitted on."""

    @model_validator(mode="after")
    def _lengths(self) -> Coefficients:
        if self.inputs != INPUTS:
            raise ValueError(f"inputs are {list(self.inputs)}; this version computes {list(INPUTS)}")
        for field, expected in (("centre", len(INPUTS)), ("scale", len(INPUTS)), ("linear", len(INPUTS))):
            if len(getattr(self, field)) != expected:
                raise ValueError(f"{field} has {len(getattr(self, field))} numbers; allowed: {expected}")
        if len(self.products) != len(PAIRS):
            raise ValueError(f"products has {len(self.products)} numbers; allowed: {len(PAIRS)}")
        if [len(row) for row in self.prior] != [GRID] * GRID:
            raise ValueError(f"prior must be {GRID} rows of {GRID} numbers")
        if min(self.scale) <= 0:
            raise ValueError("scale must be positive")
        return self


class ProbeSettings(Settings):
    """The one setting of this tool."""

    probe: str = "phantom"
    """`phantom` (shipped), or a JSON file of `mmedpo ground fit`."""


@register("grounder", "patch-probe")
class PatchProbe:
    """A fitted probe; a `Grounder`."""

    name = "patch-probe"
    settings = ProbeSettings
    generated = "probe"

    def __init__(self, coefficients: Coefficients) -> None:
        self.coefficients = coefficients

    @classmethod
    def from_settings(cls, settings: ProbeSettings) -> PatchProbe:
        """The shipped probe of that name, or the one in that `.json` file.

        Raises:
            GroundingError: no such probe, or an unusable file.
        """
        if settings.probe.endswith(".json"):
            return cls.load(Path(settings.probe))
        return shipped(settings.probe)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To what the fitting images were, where the coefficients say it; else to every image."""
        fitted = {"modality": self.coefficients.modalities, "organ": self.coefficients.organs}
        return needs({name: (*told, "") for name, told in fitted.items() if told}, modality, organ, view)

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at.

        An image without contrast gives neither heatmap nor confidence (reason `image-without-contrast`).
        """
        features = patch_features(image)
        if features is None:
            return Region(None, None, label=self.coefficients.label, reason="image-without-contrast")
        logits = self.logits(features)
        heatmap = upsample(sigmoid(logits), image.shape[0], image.shape[1])
        if heatmap is None:
            return Region(None, None, label=self.coefficients.label, reason="map-without-peak")
        smallest = max(1, heatmap.size // (4 * GRID * GRID))
        return Region(
            heatmap=heatmap,
            confidence=self.confidence(logits),
            boxes=components(heatmap >= BOX_LEVEL, self.coefficients.label, smallest),
            label=self.coefficients.label,
            calibrated=True,
        )

    def logits(self, features: Floats) -> Floats:
        """Log-odds [..., GRID, GRID] that a patch lies in a lesion, from [..., GRID, GRID, len(FEATURES)]."""
        fitted = self.coefficients
        inputs = with_prior(features, np.array(fitted.prior))
        expanded = expand((inputs - np.array(fitted.centre)) / np.array(fitted.scale))
        return np.asarray(expanded @ np.array(fitted.linear + fitted.products) + fitted.intercept)

    def confidence(self, logits: Floats) -> float:
        """Calibrated probability that the image of these patch logits holds a lesion."""
        slope, offset = self.coefficients.platt
        return float(sigmoid(slope * pooled(logits) + offset))

    @classmethod
    def fit(
        cls,
        images: Sequence[Pixels],
        lesions: Sequence[Lesion],
        image_labels: Sequence[bool | None],
        groups: Sequence[int],
        seed: int = 0,
        *,
        name: str = "own",
        label: str = "lesion",
    ) -> PatchProbe:
        """Fits on images with boxes or masks (label True) and images known to be free of lesions (label False).

        Args:
            lesions: one mask or list of boxes per image; None or empty where there is none.
            image_labels: True, False, or None for images to leave out.
            groups: patient number per image; calibration holds out whole patients.
            seed: of the calibration folds.

        Raises:
            GroundingError: lengths differ, a positive image without region, too few images, or no contrast.
        """
        features, targets, labels, numbers = design(images, lesions, image_labels, groups)
        return cls(fit_features(features, targets, labels, numbers, seed, name=name, label=label))

    @classmethod
    def load(cls, path: Path) -> PatchProbe:
        """Reads a probe from JSON.

        Raises:
            GroundingError: missing or malformed file, or coefficients of another length or meaning.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise GroundingError(f"cannot read the probe {path}: {error}") from error
        return cls(_parse(text, str(path)))

    def save(self, path: Path) -> None:
        """Writes the coefficients as JSON, with full precision; the file appears only when complete."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(self.coefficients.model_dump(), indent=1) + "\n", encoding="utf-8")
        partial.replace(path)


def design(
    images: Sequence[Pixels],
    lesions: Sequence[Lesion],
    image_labels: Sequence[bool | None],
    groups: Sequence[int],
) -> tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.int64]]:
    """Features [n, GRID, GRID, D], lesion share per patch [n, GRID, GRID], labels and groups of the usable images."""
    if len({len(images), len(lesions), len(image_labels), len(groups)}) != 1:
        counts = [len(images), len(lesions), len(image_labels), len(groups)]
        raise GroundingError(f"images, lesions, labels and groups number {counts}; they must be equally many")
    rows = []
    for place, (image, lesion, label) in enumerate(zip(images, lesions, image_labels, strict=True)):
        features = None if label is None else patch_features(image)
        if features is None or label is None:
            continue
        target = patch_target(lesion if label else None, image.shape[0], image.shape[1])
        if label and not target.any():
            raise GroundingError(f"image {place} is labelled with a lesion but has no box or mask; label it None")
        rows.append((features, target, label, groups[place]))
    if not rows:
        raise GroundingError("no usable image to fit a probe on; give images with boxes and images known to be normal")
    features_, targets, labels, numbers = zip(*rows, strict=True)
    return np.stack(features_), np.stack(targets), np.array(labels, dtype=bool), np.array(numbers, dtype=np.int64)


def patch_target(lesion: Lesion, height: int, width: int) -> Floats:
    """Share of each patch that the lesion covers, float64 [GRID, GRID] in 0..1."""
    if lesion is None:
        return np.zeros((GRID, GRID))
    mask = lesion if isinstance(lesion, np.ndarray) else boxes_mask(lesion, height, width)
    if mask.shape != (height, width):
        raise GroundingError(f"mask has shape {list(mask.shape)}, the image {[height, width]}; sizes must agree")
    # Exact area shares through the integral image: no resampling filter blurs across patch borders.
    integral = np.pad(mask.astype(np.float64).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    rows = np.rint(np.linspace(0, height, GRID + 1)).astype(int)
    columns = np.rint(np.linspace(0, width, GRID + 1)).astype(int)
    corners = integral[np.ix_(rows, columns)]
    areas = np.maximum(np.outer(np.diff(rows), np.diff(columns)), 1)
    return np.asarray(np.diff(np.diff(corners, axis=0), axis=1) / areas)


def position_prior(targets: Floats) -> Floats:
    """Log-odds [GRID, GRID] of the mean lesion map of [n, GRID, GRID] images, lightly smoothed, kept off 0 and 1."""
    from scipy.ndimage import gaussian_filter

    mean = np.clip(gaussian_filter(targets.mean(axis=0), 0.7, mode="nearest"), 0.005, 0.995)
    return np.asarray(np.log(mean / (1.0 - mean)))


def with_prior(features: Floats, prior: Floats) -> Floats:
    """Appends the position prior as the last input."""
    plane = np.broadcast_to(prior[..., None], (*features.shape[:-1], 1))
    return np.concatenate([features, plane], axis=-1)


def expand(standardised: Floats) -> Floats:
    """Inputs [..., d] clipped, followed by their squares and products [..., d + d (d + 1) / 2]."""
    clipped = np.clip(standardised, -REACH, REACH)
    first, second = np.array(PAIRS).T
    return np.concatenate([clipped, clipped[..., first] * clipped[..., second]], axis=-1)


def pooled(logits: Floats) -> Floats:
    """Mean of the POOLED highest patch logits of [..., GRID, GRID]."""
    flat = np.sort(logits.reshape(*logits.shape[:-2], -1), axis=-1)
    return np.asarray(flat[..., -POOLED:].mean(axis=-1))


def upsample(probabilities: Floats, height: int, width: int) -> Heatmap | None:
    """The heatmap of the module's docstring; None when the map has no peak."""
    floor = float(np.quantile(probabilities, BACKGROUND_QUANTILE))
    large = resize_map(probabilities, height, width)
    peak = float(large.max())
    top = min(peak, max(FULL_HEAT, floor + LEAST_RANGE))
    if top - floor < 1e-9:
        return None
    return np.asarray(np.clip((large - floor) / (top - floor), 0.0, 1.0), dtype=np.float32)


def fit_features(
    features: Floats,
    targets: Floats,
    labels: NDArray[np.bool_],
    groups: NDArray[np.int64],
    seed: int,
    *,
    name: str = "own",
    label: str = "lesion",
) -> Coefficients:
    """The fit behind `PatchProbe.fit`, from the arrays of `design`.

    Penalty and calibration both come from patients held out in turn, none from the images scored.
    """
    folds = min(INNER_FOLDS, len(np.unique(groups[labels])))
    fold = group_folds(groups, labels, folds, seed)
    best, penalty, logits = np.inf, PENALTIES[0], np.zeros(targets.shape)
    for candidate in PENALTIES:
        held_out = np.zeros(targets.shape)
        for number in range(folds):
            train, test = fold != number, fold == number
            part = _fit_patches(features[train], targets[train], labels[train], candidate)
            held_out[test] = PatchProbe(part).logits(features[test])
        loss = float(np.mean(np.logaddexp(0.0, held_out) - targets * held_out))
        if loss < best:
            best, penalty, logits = loss, candidate, held_out
    fitted = _fit_patches(features, targets, labels, penalty)
    calibration = {"platt": fit_platt(pooled(logits), labels), "prevalence": float(labels.mean())}
    return fitted.model_copy(update={"name": name, "label": label, **calibration})


def _fit_patches(features: Floats, targets: Floats, labels: NDArray[np.bool_], penalty: float) -> Coefficients:
    """The patch model alone, uncalibrated."""
    prior = position_prior(targets[labels])
    inputs = with_prior(features, prior).reshape(-1, len(INPUTS))
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-9
    expanded = expand((inputs - centre) / scale)
    # Products are standardised for a fair penalty; this is folded back into the weights.
    middle, width = expanded.mean(axis=0), expanded.std(axis=0) + 1e-9
    weights, intercept = fit_logistic((expanded - middle) / width, targets.reshape(-1), penalty)
    weights = weights / width
    return Coefficients(
        name="uncalibrated",
        label="",
        penalty=penalty,
        prior=prior.tolist(),
        centre=centre.tolist(),
        scale=scale.tolist(),
        linear=weights[: len(INPUTS)].tolist(),
        products=weights[len(INPUTS) :].tolist(),
        intercept=intercept - float(weights @ middle),
        platt=NOT_FITTED,
        prevalence=0.5,
    )


def shipped(name: str) -> PatchProbe:
    """A patch probe that comes with the package: `phantom` (its card, `phantom.md`, lies beside it).

    Raises:
        GroundingError: no such probe; the message lists them.
    """
    if name not in SHIPPED:
        raise GroundingError(
            f"no shipped patch probe {name[:60]!r}; allowed: {', '.join(SHIPPED)}, or a .json file of "
            "`mmedpo ground fit` (for chest films: ground.tool=chest-probe)"
        )
    file = resources.files("mmedpo.grounding") / "coefficients" / f"{name}.json"
    return PatchProbe(_parse(file.read_text(encoding="utf-8"), name))


def _parse(text: str, origin: str) -> Coefficients:
    try:
        return Coefficients.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise GroundingError(f"probe {origin} is not usable: {where}: {first['msg']}; fit it again") from error
