"""Attention: how much of what an answer attends to on the image, and of its gradient, lies inside the lesion?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from mmedpo.clinical.bearing import marked_by, rests_on, shares
from mmedpo.config.groups import Settings
from mmedpo.errors import ModelError
from mmedpo.evaluate.probes.lesions import about_a_lesion, lesion_of
from mmedpo.evaluate.probes.probe import Prepared, Probe, Subject, Workplace
from mmedpo.imaging.pictures import image_file
from mmedpo.records import MAP_SIDE, Drop, Example, Looking
from mmedpo.records.shapes import Floats, Mask
from mmedpo.registry import register


class AttentionSettings(Settings):
    """`evaluate.probes.attention`."""

    questions: int = Field(ge=2, le=1_000_000)
    """How many are asked, one an image: each takes two passes and a gradient of its own."""


@register("probe", "attention")
class Attention(Probe[Looking]):
    """Share inside the annotated lesion of the attention to the image, and of the gradient of log pi(y_w)."""

    title = "Attention in the lesion"
    unit = "of attention"
    quantities: ClassVar[Mapping[str, str]] = {
        "attention": "attention in the lesion",
        "relevance": "gradient in the lesion",
        "image": "attention to the image at all",
    }
    headline = "attention"
    about = "share of the answer's attention to the image that lies inside the annotated lesion"
    record = Looking
    options = AttentionSettings
    together = None  # it is left out as a whole

    def prepare(self, place: Workplace, examples: Sequence[Example]) -> Prepared:
        """One question an image, whose truth rests on a finding that is there and marked."""
        found: set[str] = set()
        drops: list[Drop] = []

        def usable(example: Example) -> bool:
            if not about_a_lesion(example) or example.image.sha256 in found or not _decided_by_it(example):
                return False
            if not lesion_of(place.image_root, example).any():
                drops.append(Drop(stage=place.stage, item=example.example_id, reason="empty-lesion"))
                return False
            found.add(example.image.sha256)
            return True

        return Prepared(self.sample(examples, usable), drops)

    def measure(self, subject: Subject, examples: Sequence[Example]) -> list[Looking]:
        """Both maps of every question; none where the model's tokens cannot be placed on the picture."""
        found = []
        try:
            for example in examples:
                found.append(_looking(subject, example))
        except ModelError as error:
            subject.message(f"attention is left out: {error}")
            return []
        return found

    def values(self, rows: Sequence[Looking]) -> Mapping[str, Mapping[str, float]]:
        """The shares."""
        return {
            "attention": {row.example_id: row.attention for row in rows},
            "relevance": {row.example_id: row.relevance for row in rows},
            "image": {row.example_id: row.image for row in rows},
        }


def _decided_by_it(example: Example) -> bool:
    """The truth rests on a finding, and on one that the labels of the boxes name, where they name any."""
    here = rests_on(example.question, example.answer, example.error_type)
    marked = marked_by(box.label for box in example.boxes)
    return bool(here) and (not marked or shares(here, marked))


def _looking(subject: Subject, example: Example) -> Looking:
    from mmedpo.engine import build_branch
    from mmedpo.engine.branches import image_size
    from mmedpo.engine.looking import attended, relevance

    vlm = subject.engine.vlm
    view = image_file(subject.image_root, example.image.path)
    branch = build_branch(
        vlm, (view,), example.question, example.answer, max_length=vlm.context_length, owner=example.example_id
    )
    areas = vlm.family.areas(image_size(view))
    lesion = lesion_of(subject.image_root, example)
    shown = subject.engine.features((view,))
    seen = attended(vlm, branch, lambda _: shown)
    weights = [np.asarray(one, dtype=np.float64) for one in (seen.tokens, relevance(vlm, branch, lambda _: shown))]
    attention, gradient = weights
    return Looking(
        example_id=example.example_id,
        model=subject.model,
        image_sha256=example.image.sha256,
        attention=share_inside(attention, areas, lesion),
        relevance=share_inside(gradient, areas, lesion),
        chance=share_inside(np.ones(len(areas)), areas, lesion),
        image=seen.image,
        attention_map=tuple(map_of(attention, areas).ravel().round(6).tolist()),
        relevance_map=tuple(map_of(gradient, areas).ravel().round(6).tolist()),
    )


def share_inside(weights: Floats, areas: Floats, lesion: Mask) -> float:
    """Share of the weights that lies inside a lesion; a token on its border counts with the part inside.

    Args:
        weights: [tokens] 0 or more.
        areas: [tokens, 4] as `Family.areas`; tokens without a place count nowhere.
        lesion: [height, width] of the picture.

    Raises:
        ModelError: no token with a place has any weight.
    """
    placed, down, across = _overlaps(areas, *lesion.shape)
    inside = ((down @ lesion.astype(np.float64)) * across).sum(axis=1)
    total = float(weights[placed].sum())
    if not total > 0:
        raise ModelError("no image token has any weight: the answer does not depend on the image")
    return float(weights[placed] @ inside) / total


def map_of(weights: Floats, areas: Floats, side: int = MAP_SIDE) -> Floats:
    """[side, side] where on the picture the weights lie; sums to 1, less what lies on padding."""
    placed, down, across = _overlaps(areas, side, side)
    return np.asarray((down * weights[placed, None]).T @ across / weights[placed].sum())


def _overlaps(areas: Floats, rows: int, columns: int) -> tuple[Floats, Floats, Floats]:
    """Which tokens have a place; of these the shares in each row and each column, [placed, rows], [placed, columns]."""
    placed = ~np.isnan(areas[:, 0])
    top, left, bottom, right = areas[placed].T
    return placed, _shares(top * rows, bottom * rows, rows), _shares(left * columns, right * columns, columns)


def _shares(start: Floats, stop: Floats, cells: int) -> Floats:
    """[intervals, cells] share of each interval that lies in each cell of length 1."""
    edges = np.arange(cells)
    common = np.minimum(stop[:, None], edges + 1) - np.maximum(start[:, None], edges)
    return np.asarray(np.clip(common, 0, None) / (stop - start)[:, None])
