"""The `ground` stage: one heatmap and confidence per training image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mmedpo.config import GroundSettings, RunSettings
from mmedpo.grounding.grounder import Grounder
from mmedpo.imaging import pictures
from mmedpo.imaging.images import read_image
from mmedpo.records import Drop, Example, Grounding
from mmedpo.registry import lookup
from mmedpo.run import Run, Stage
from mmedpo.run.layout import EXAMPLES, GROUNDINGS, HEATMAPS
from mmedpo.storage.files import hash_input, share
from mmedpo.storage.tables import atomic_path

CHUNK = 32
"""Images grounded between two notes of how far it got."""


def stage(settings: RunSettings) -> Stage:
    """What grounding is made from."""
    content: dict[str, Any] = {"ground": settings.ground.model_dump(mode="json", exclude={"minimum_confidence"})}
    if Path(settings.ground.probe).suffix == ".json":
        content["probe"] = hash_input(Path(settings.ground.probe))
    return Stage("ground", ground, content, reads=(EXAMPLES,), writes=(GROUNDINGS, HEATMAPS))


def ground(run: Run) -> list[Grounding]:
    """Runs the visual tool on every training image it applies to.

    Writes `groundings.parquet` and `groundings/<image>.npy` (float32 heatmaps, 0..1). Images that
    the tool does not apply to are counted, not silently skipped.
    """
    wanted = set(run.settings.ground.only_tags)
    first_of_image: dict[str, Example] = {}
    for example in run.read(EXAMPLES, Example):
        if example.split == "train":
            first_of_image.setdefault(example.image.sha256, example)
    fitting = [example for example in first_of_image.values() if wanted <= set(example.tags)]
    reason = f"tool applies to {', '.join(run.settings.ground.only_tags)}"
    drops = [
        Drop(stage="ground", item=example.image.path, reason="tool-not-applicable", detail=reason)
        for example in first_of_image.values()
        if not wanted <= set(example.tags)
    ]
    (run.work_folder / HEATMAPS).mkdir(parents=True, exist_ok=True)
    groundings = run.map("grounding", fitting, CHUNK, partial(_grounding, run), Grounding)
    share(run.work_folder / HEATMAPS, run.file(HEATMAPS))
    run.write(GROUNDINGS, Grounding, groundings)
    run.write_drops(drops)
    return groundings


def _grounding(run: Run) -> Callable[[Sequence[Example]], list[Grounding]]:
    """The tool, loaded: marks the images of a chunk of examples."""
    grounder = load_grounder(run.settings.ground)
    return lambda examples: [_ground_one(run, grounder, example) for example in examples]


def load_grounder(settings: GroundSettings) -> Grounder:
    """The configured visual tool."""
    kind = lookup("grounder", settings.tool)
    grounder: Grounder = kind.from_settings(settings) if hasattr(kind, "from_settings") else kind()
    return grounder


def read_mask(image_root: Path, example: Example) -> np.ndarray | None:
    """The annotated lesion mask of an example's image, bool [H, W]; None when there is no mask file."""
    if example.mask_path is None:
        return None
    return pictures.read_mask(image_root, example.mask_path)


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
        heatmap_path = f"{HEATMAPS}/{example.image.sha256[:16]}.npy"
        with atomic_path(run.work_folder / heatmap_path) as partial, partial.open("wb") as handle:
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
