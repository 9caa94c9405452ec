"""The `ground` stage: one heatmap and confidence per training image."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmedpo.config import GroundSettings
from mmedpo.grounding.grounder import Grounder
from mmedpo.imaging.images import read_image
from mmedpo.records import Drop, Example, Grounding
from mmedpo.registry import lookup
from mmedpo.run import Run
from mmedpo.storage.tables import atomic_path

TABLE = "groundings.parquet"
FOLDER = "groundings"


def ground(run: Run) -> list[Grounding]:
    """Runs the visual tool on every training image it applies to.

    Writes `groundings.parquet` and `groundings/<image>.npy` (float32 heatmaps, 0..1). Images that
    the tool does not apply to are counted, not silently skipped.
    """
    settings = run.settings.ground
    examples = [example for example in run.read("examples.parquet", Example) if example.split == "train"]
    grounder = load_grounder(settings)
    folder = run.file(FOLDER)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    first_of_image: dict[str, Example] = {}
    for example in examples:
        first_of_image.setdefault(example.image.sha256, example)
    advance = run.track("grounding")
    groundings: list[Grounding] = []
    drops: list[Drop] = []
    for number, example in enumerate(first_of_image.values(), start=1):
        if not set(settings.only_tags) <= set(example.tags):
            reason = f"tool applies to {', '.join(settings.only_tags)}"
            drops.append(Drop(stage="ground", item=example.image.path, reason="tool-not-applicable", detail=reason))
        else:
            groundings.append(_ground_one(run, grounder, example))
        advance(number, len(first_of_image))
    run.write(TABLE, Grounding, groundings)
    run.write_drops(drops)
    return groundings


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


def _ground_one(run: Run, grounder: Grounder, example: Example) -> Grounding:
    image = read_image(run.image_root, example.image.path)
    region = grounder.ground(image, example.boxes, read_mask(run.image_root, example))
    heatmap_path = None
    if region.heatmap is not None:
        heatmap_path = f"{FOLDER}/{example.image.sha256[:16]}.npy"
        with atomic_path(run.file(heatmap_path)) as partial, partial.open("wb") as handle:
            np.save(handle, region.heatmap.astype(np.float32))
    return Grounding(
        image_sha256=example.image.sha256,
        tool=grounder.name,
        heatmap_path=heatmap_path,
        confidence=region.confidence,
        calibrated=region.calibrated,
        boxes=tuple(region.boxes),
        label=region.label,
        reason=region.reason,
    )
