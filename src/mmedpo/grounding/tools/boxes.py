"""Regions of an annotation file that lies beside the dataset: boxes, outlines, masks (JSON, CSV, COCO)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mmedpo.config.groups import Settings, UserPath
from mmedpo.grounding.annotations import Marked, read_annotations
from mmedpo.grounding.grounder import UNKNOWN, About, Organ, Region
from mmedpo.grounding.marking import lesion_mask, scaled_boxes
from mmedpo.grounding.regions import clip_box, components, edge_margin, labels_of, organ_region, soft_edges
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.registry import register


class BoxesSettings(Settings):
    """The file."""

    file: UserPath
    """JSON, CSV or COCO (docs/tools.md); mask files it names lie relative to its folder."""


@register("grounder", "boxes")
class BoxesGrounder:
    """An annotation file, joined to images by path or, where that is unique, by file name."""

    name = "boxes"
    settings = BoxesSettings

    def __init__(self, marked: Sequence[Marked], root: Path) -> None:
        self._root = root
        self._by_path = {one.file: one for one in marked}
        self._by_name = _unique(marked, lambda path: path.name)
        self._by_stem = _unique(marked, lambda path: path.stem)

    @classmethod
    def from_settings(cls, settings: BoxesSettings) -> BoxesGrounder:
        """Reads the file.

        Raises:
            GroundingError: missing, or a row that cannot be used.
        """
        return cls(read_annotations(settings.file), settings.file.parent)

    def applies(self, modality: str, organ: str, view: str) -> str:
        """To every image; whether the file names it is known only with the image."""
        return ""

    def ground(
        self,
        image: Pixels,
        example_boxes: Sequence[Box] = (),
        mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Region:
        """See `Grounder.ground`; boxes and mask of the example are not looked at.

        An image that the file does not name, or of which it says nothing, is declined.

        Raises:
            GroundingError: a mask that cannot be read, or boxes drawn on a picture of another shape.
        """
        row = self._row(about.path)
        if row is None or not (row.lesion or row.normal or row.looked_at):
            return Region(None, None, reason="not-in-the-annotation-file", declined=True)
        height, width = image.shape[:2]
        if not row.lesion:
            return Region(None, None, reason="no-lesion-annotated")
        lesion = lesion_mask(row, height, width, self._root)
        if not lesion.any():
            return Region(None, None, reason="no-lesion-annotated")
        kept = [box for one in scaled_boxes(row, height, width) if (box := clip_box(one, height, width)) is not None]
        label = labels_of(kept)
        return Region(
            heatmap=soft_edges(lesion, edge_margin(height, width)),
            confidence=None,
            boxes=tuple(kept) or components(lesion, label),
            label=label,
            reason="annotation-gives-no-confidence",
        )

    def organs(
        self,
        image: Pixels,
        organ_boxes: Sequence[Box] = (),
        organ_mask: Mask | None = None,
        about: About = UNKNOWN,
    ) -> Organ | None:
        """See `OrganMapper.organs`: the boxes of organs in the file; those of the example are not looked at.

        Raises:
            GroundingError: boxes drawn on a picture of another shape.
        """
        row = self._row(about.path)
        if row is None or not row.organs:
            return None
        height, width = image.shape[:2]
        heat = organ_region(scaled_boxes(row, height, width, row.organs), None, height, width)
        return None if heat is None else Organ(heat, labels_of(row.organs))

    def _row(self, path: str) -> Marked | None:
        name = PurePosixPath(path)
        return self._by_path.get(path) or self._by_name.get(name.name) or self._by_stem.get(name.stem)


def _unique(marked: Sequence[Marked], key: Callable[[PurePosixPath], str]) -> Mapping[str, Marked]:
    """By a part of the path, without those that two entries share."""
    found: dict[str, Marked | None] = {}
    for one in marked:
        name = key(PurePosixPath(one.file))
        found[name] = None if name in found else one
    return {name: one for name, one in found.items() if one is not None}
