"""Reading what the `ground` stage made, and opening the configured tool: shared by the stages and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmedpo.config import GroundSettings
from mmedpo.grounding.grounder import Grounder
from mmedpo.imaging.images import read_image
from mmedpo.records import Example, Grounding
from mmedpo.registry import lookup
from mmedpo.run import Run


def load_grounder(settings: GroundSettings) -> Grounder:
    """The configured visual tool."""
    kind = lookup("grounder", settings.tool)
    grounder: Grounder = kind.from_settings(settings) if hasattr(kind, "from_settings") else kind()
    return grounder


def read_mask(image_root: Path, example: Example) -> np.ndarray | None:
    """The annotated lesion mask of an example's image, bool [H, W]; None when there is no mask file."""
    if example.mask_path is None:
        return None
    mask = read_image(image_root, example.mask_path)
    return np.asarray((mask if mask.ndim == 2 else mask.max(axis=2)) > 0)


def heatmap_of(run: Run, grounding: Grounding) -> np.ndarray:
    """Reads a stored heatmap, float32 [H, W]."""
    assert grounding.heatmap_path is not None
    return np.asarray(np.load(run.file(grounding.heatmap_path), allow_pickle=False))


def by_image(groundings: Sequence[Grounding]) -> dict[str, Grounding]:
    """Groundings keyed by the image they speak of."""
    return {grounding.image_sha256: grounding for grounding in groundings}
