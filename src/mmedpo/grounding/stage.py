"""The `ground` stage: one heatmap and confidence per training image."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

import numpy as np

from mmedpo.grounding.grounder import About, Grounder, Region
from mmedpo.grounding.library import about, open_tools, read_mask
from mmedpo.imaging.images import read_image
from mmedpo.records import Box, Drop, Example, Grounding
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.run import Run
from mmedpo.storage.tables import atomic_path

TABLE = "groundings.parquet"
FOLDER = "groundings"


def ground(run: Run) -> list[Grounding]:
    """Asks the visual tools, in order of preference, for every training image; the first that applies marks it.

    Writes `groundings.parquet` and `groundings/<image>.npy` (float32 heatmaps, 0..1). A tool that does not
    apply to an image is a counted drop with its reason, whether or not a later one did.
    """
    settings = run.settings.ground
    examples = [example for example in run.read("examples.parquet", Example) if example.split == "train"]
    tools = open_tools(settings)
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
            drops.append(_drop(example, f"tool applies to {', '.join(settings.only_tags)}"))
        else:
            grounding, reasons = _ground_one(run, tools, example)
            drops += [_drop(example, reason) for reason in reasons]
            if grounding is not None:
                groundings.append(grounding)
        advance(number, len(first_of_image))
    run.write(TABLE, Grounding, groundings)
    run.write_drops(drops)
    return groundings


def mark(
    tools: Sequence[Grounder], load: Callable[[], tuple[Pixels, Mask | None]], boxes: Sequence[Box], image: About
) -> tuple[Grounder | None, Region | None, list[str]]:
    """The first tool that applies and what it says; and `TOOL: reason` of every one that did not.

    Args:
        load: reads image and mask; called only when a tool applies.

    Returns:
        A tool that declined keeps the word when no later one applies, so that its reason is not lost.
    """
    loaded: tuple[Pixels, Mask | None] | None = None
    reasons: list[str] = []
    declined: tuple[Grounder | None, Region | None] = (None, None)
    for tool in tools:
        reason = tool.applies(image.modality, image.organ, image.view)
        if not reason:
            loaded = loaded or load()
            region = tool.ground(loaded[0], boxes, loaded[1], image)
            if not region.declined:
                return tool, region, reasons
            declined, reason = (tool, region), region.reason
        reasons.append(f"{tool.name}: {reason}")
    if declined[0] is not None:
        reasons = [reason for reason in reasons if not reason.startswith(f"{declined[0].name}: ")]
    return *declined, reasons


def _ground_one(run: Run, tools: Sequence[Grounder], example: Example) -> tuple[Grounding | None, list[str]]:
    def load() -> tuple[Pixels, Mask | None]:
        return read_image(run.image_root, example.image.path), read_mask(run.image_root, example)

    tool, region, reasons = mark(tools, load, example.boxes, about(example, run.settings.ground.assume))
    if tool is None or region is None:
        return None, reasons
    heatmap_path = None
    if region.heatmap is not None:
        heatmap_path = f"{FOLDER}/{example.image.sha256[:16]}.npy"
        with atomic_path(run.file(heatmap_path)) as partial, partial.open("wb") as handle:
            np.save(handle, region.heatmap.astype(np.float32))
    grounding = Grounding(
        image_sha256=example.image.sha256,
        tool=tool.name,
        heatmap_path=heatmap_path,
        confidence=region.confidence,
        calibrated=region.calibrated,
        boxes=tuple(region.boxes),
        label=region.label,
        reason=region.reason,
    )
    return grounding, reasons


def _drop(example: Example, why: str) -> Drop:
    return Drop(stage="ground", item=example.image.path, reason="tool-not-applicable", detail=why)
