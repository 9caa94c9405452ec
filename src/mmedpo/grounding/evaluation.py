"""Runs visual tools on annotated images: the shell around `comparison`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmedpo.config import AssumeSettings
from mmedpo.errors import GroundingError
from mmedpo.grounding.annotations import Marked, read_annotations
from mmedpo.grounding.comparison import SIZE, Case, Line, compare, shrink
from mmedpo.grounding.grounder import About, Grounder, Region, resize_map
from mmedpo.grounding.marking import lesion_mask, open_marked, scaled_boxes
from mmedpo.records.shapes import Pixels


class Evaluated(NamedTuple):
    """What `evaluate_tools` found."""

    lines: list[Line]
    cases: list[Case]
    rows: list[Marked]
    """The annotation of each case."""
    left_out: Mapping[str, int]
    """Entries of the file that were not measured, by reason."""


def evaluate_tools(
    tools: Sequence[Grounder],
    annotations: Path,
    images: Path,
    assume: AssumeSettings,
    *,
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Evaluated:
    """Asks every tool for every image that is marked, normal or looked at, and compares.

    A tool is never asked for an image it does not apply to: that image is unscored for it, with the reason.

    Args:
        images: folder that the annotation's files are relative to.
        assume: modality, organ and view of images of which the annotations do not say them.

    Raises:
        GroundingError: unusable annotations or images, or nothing marked.
    """
    told = read_annotations(annotations)
    rows = [row for row in told if row.lesion or row.normal or row.looked_at]
    if not any(row.lesion for row in rows):
        raise GroundingError(f"annotations {annotations} mark no lesion; give boxes, outlines or masks")
    cases = []
    for number, row in enumerate(rows, start=1):
        image = open_marked(images, row)
        cases.append(_case(tools, row, image, annotations.parent, assume))
        advance(number, len(rows))
    left_out = {"not annotated": len(told) - len(rows)} if len(told) > len(rows) else {}
    return Evaluated(compare(cases, [tool.name for tool in tools], seed), cases, rows, left_out)


def _case(tools: Sequence[Grounder], row: Marked, image: Pixels, root: Path, assume: AssumeSettings) -> Case:
    height, width = image.shape[:2]
    lesion = lesion_mask(row, height, width, root)
    boxes = scaled_boxes(row, height, width)
    about = About(assume.modality, assume.organ, row.projection or assume.view, row.file, row.looked_at)
    maps: dict[str, np.ndarray] = {}
    confidences, reasons = {}, {}
    for tool in tools:
        reason = tool.applies(about.modality, about.organ, about.view)
        region = Region(None, None, reason=reason) if reason else tool.ground(image, boxes, None, about)
        if region.heatmap is not None:
            maps[tool.name] = resize_map(region.heatmap, SIZE, SIZE)
        if region.confidence is not None:
            confidences[tool.name] = region.confidence
        if region.reason:
            reasons[tool.name] = region.reason
    return Case(
        image=row.file,
        patient=row.patient,
        lesion=shrink(lesion),
        normal=row.normal,
        projection=about.view,
        findings=tuple(sorted({box.label for box in boxes if box.label})),
        maps=maps,
        confidences=confidences,
        reasons=reasons,
    )
