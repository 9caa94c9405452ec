"""Groundings and noise: some images with what the visual tool marked, and their noised views."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmedpo.errors import MMedPOError
from mmedpo.grounding.library import apart, heatmap_of
from mmedpo.grounding.measures import calibration, calibration_error
from mmedpo.grounding.overlay import overlay
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import read_mask
from mmedpo.records import Example, Grounding, PreferencePair
from mmedpo.registry import register
from mmedpo.report.formatting import count
from mmedpo.report.parts import Measured, Part, Picture
from mmedpo.report.pictures import picture, shuffled, stored_picture
from mmedpo.report.section import Section
from mmedpo.report.stored import Stored
from mmedpo.run import Run

GROUNDINGS = 6
FEWEST_EACH = 10
"""Annotated images with a lesion, and without, below which nothing is said of a tool's confidence."""


class GroundingSample(Part):
    """One row of the contact sheet; a missing picture is said to be missing."""

    name: str
    """Example id or image name."""
    clean: Picture | None = None
    overlay: Picture | None = None
    noised: Picture | None = None
    tool: str = ""
    label: str = ""
    """Finding asked for."""
    confidence: Measured = None
    calibrated: bool | None = None
    step: int | None = None
    """Noise step k."""
    region: str = ""
    """`lesion` or `global`."""
    kind: str = ""
    """Kind of noise."""
    reason: str = ""
    """Why something is missing."""


class ConfidenceBin(Part):
    """Images of which the tool is about equally sure."""

    confidence: Measured
    """Mean of what it says, in [0, 1]."""
    share: Measured
    """Share of them on which the annotators marked a lesion, images weighted as if half of all had one."""
    images: int


class ToolCalibration(Part):
    """How well one tool's confidence agrees with the annotators."""

    tool: str
    error: Measured
    """Mean distance of confidence and share."""
    images: int
    bins: tuple[ConfidenceBin, ...]


class Groundings(Part):
    """Some images, and how they were drawn."""

    samples: tuple[GroundingSample, ...]
    note: str = ""
    calibrations: tuple[ToolCalibration, ...] = ()
    uncalibrated: tuple[str, ...] = ()
    """Why the confidence of a tool was not held against lesions."""
    """Of the tools whose images annotators have looked at."""


@register("section", "groundings")
class GroundingsSection(Section[Groundings]):
    """Groundings and noise."""

    heading = "Groundings and noise"
    order = 900
    template = "groundings.html.j2"

    def gather(self, run: Run, stored: Stored) -> Groundings | None:
        """None where no tool marked anything."""
        found = groundings(run, stored)
        return found if found and found.samples else None


def groundings(run: Run, stored: Stored) -> Groundings | None:
    """Contact rows of images with a heatmap, and a line on how they were drawn."""
    marked = [item for item in stored.groundings if item.heatmap_path is not None]
    if not stored.groundings:
        return None
    seed = stored.settings.seed
    drawn = shuffled(marked, seed, "groundings", lambda item: item.image_sha256)[:GROUNDINGS]
    without = len(stored.groundings) - len(marked)
    note = f"{len(drawn)} of {count(len(marked))} training images with a heatmap, drawn with seed {seed}."
    if without:
        note += f" {count(without)} more have none and give no visual pair."
    of_image = apart(stored.examples.values())
    noised = {pair.images[pair.noised_image].sha256: pair for pair in stored.curated if pair.kind == "visual"}
    samples = (_grounding(run, item, of_image.get(item.image_sha256), noised.get(item.image_sha256)) for item in drawn)
    return Groundings(
        samples=tuple(samples),
        note=note,
        calibrations=tool_calibrations(stored, run.image_root),
        uncalibrated=without_calibration(stored, run.image_root),
    )


def tool_calibrations(stored: Stored, root: Path) -> tuple[ToolCalibration, ...]:
    """Confidence against annotated lesions, of every tool with enough annotated images of both kinds."""
    found = []
    for tool, (confidences, lesions) in _held_against(stored, root).items():
        if not _says_nothing(confidences, lesions):
            bins = (ConfidenceBin(confidence=c, share=s, images=n) for c, s, n in calibration(confidences, lesions))
            error = calibration_error(confidences, lesions)
            found.append(ToolCalibration(tool=tool, error=error, images=len(lesions), bins=tuple(bins)))
    return tuple(found)


def without_calibration(stored: Stored, root: Path) -> tuple[str, ...]:
    """Why the confidence of the other tools could not be held against lesions, one sentence each."""
    every = _held_against(stored, root)
    told = {tool: _says_nothing(*pairs) for tool, pairs in every.items()}
    return tuple(f"Calibration of {tool} not measured: {reason}." for tool, reason in told.items() if reason)


def _held_against(stored: Stored, root: Path) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Tool -> its confidence, and whether there is a lesion, of every image that annotators looked at."""
    of_image = apart(stored.examples.values())
    sure: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for item in stored.groundings:
        example = of_image.get(item.image_sha256)
        lesion = None if item.confidence is None or example is None else _has_lesion(example, root)
        if item.confidence is not None and lesion is not None:
            sure[item.tool].append((item.confidence, lesion))
    return {
        tool: (np.array([c for c, _ in own]), np.array([lesion for _, lesion in own])) for tool, own in sure.items()
    }


def _has_lesion(example: Example, root: Path) -> bool | None:
    """Whether annotators marked one; a mask may mark nothing. None where nobody looked, or their mask is not there."""
    if example.boxes:
        return True
    if example.mask_path is None:
        return False if example.annotated else None
    try:
        return bool(read_mask(root, example.mask_path).any())
    except (MMedPOError, OSError):
        return None


def _says_nothing(confidences: NDArray[np.float64], lesions: NDArray[np.bool_]) -> str:
    """Why nothing can be said of a tool's confidence; empty where something can."""
    with_lesion, without = int(lesions.sum()), int((~lesions).sum())
    if min(with_lesion, without) < FEWEST_EACH:
        return (
            f"of its images that annotators looked at, {count(with_lesion)} have a lesion and {count(without)} have "
            f"none, and at least {FEWEST_EACH} of each are needed"
        )
    # One value for all images says nothing of a single one: annotations themselves are always sure.
    return "" if np.ptp(confidences) > 0 else "it is always as sure"


def _grounding(run: Run, item: Grounding, example: Example | None, noised: PreferencePair | None) -> GroundingSample:
    fields: dict[str, Any] = {}
    reasons = [item.reason]
    if example is None:
        reasons.append("its image is in no example")
    else:
        try:
            pixels = read_image(run.image_root, example.image.path)
            fields["clean"] = picture(pixels)
            fields["overlay"] = picture(overlay(pixels, heatmap_of(run, item), item.boxes))
        except (MMedPOError, OSError, ValueError) as error:
            reasons.append(str(error))
    if noised is None:
        reasons.append("no visual pair was made from it")
    else:
        if noised.rejected_noise is not None:
            noise = noised.rejected_noise
            fields.update(step=noise.step, region=noise.region, kind=noise.kind)
        if noised.rejected_image_path is not None:
            fields["noised"], reason = stored_picture(run.path, noised.rejected_image_path)
            reasons.append(reason)
    return GroundingSample(
        name=item.image_sha256[:12] if example is None else example.image.path,
        tool=item.tool,
        label=item.label,
        confidence=item.confidence,
        calibrated=item.calibrated,
        reason="; ".join(reason for reason in reasons if reason),
        **fields,
    )
