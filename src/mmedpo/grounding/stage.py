"""The `ground` stage: one heatmap and confidence per training image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from mmedpo.config import RunSettings
from mmedpo.grounding.grounder import About, Grounder, Region
from mmedpo.grounding.library import about, apart, fingerprint, open_tools, read_mask
from mmedpo.imaging.images import read_image
from mmedpo.records import Box, Drop, Example, Grounding
from mmedpo.records.shapes import Mask, Pixels
from mmedpo.run import Run, Stage
from mmedpo.run.layout import EXAMPLES, GROUNDINGS, HEATMAPS
from mmedpo.storage.files import share
from mmedpo.storage.tables import atomic_path

CHUNK = 32
"""Images grounded between two notes of how far it got."""


def stage(settings: RunSettings) -> Stage:
    """What grounding is made from."""
    return Stage("ground", ground, fingerprint(settings.ground), reads=(EXAMPLES,), writes=(GROUNDINGS, HEATMAPS))


def ground(run: Run) -> list[Grounding]:
    """Asks the visual tools, in order of preference, for every training image; the first that applies marks it.

    Of a question on several images each is asked about (`apart`).

    Writes `groundings.parquet` and `groundings/<image>.npy` (float32 heatmaps, 0..1). A tool that does not
    apply to an image is a counted drop with its reason, whether or not a later one did.
    """
    wanted = set(run.settings.ground.only_tags)
    first_of_image = apart(example for example in run.read(EXAMPLES, Example) if example.split == "train")
    fitting = [example for example in first_of_image.values() if wanted <= set(example.tags)]
    reason = f"tool applies to {', '.join(run.settings.ground.only_tags)}"
    drops = [_drop(example, reason) for example in first_of_image.values() if not wanted <= set(example.tags)]
    (run.work_folder / HEATMAPS).mkdir(parents=True, exist_ok=True)
    asked = run.map("grounding", fitting, CHUNK, partial(_grounding, run), Grounding)
    share(run.work_folder / HEATMAPS, run.file(HEATMAPS))
    drops += [_drop(first_of_image[one.image_sha256], reason) for one in asked for reason in one.skipped]
    groundings = [one for one in asked if one.tool]
    run.write(GROUNDINGS, Grounding, groundings)
    run.write_drops(drops)
    return groundings


def _grounding(run: Run) -> Callable[[Sequence[Example]], list[Grounding]]:
    """The tools, opened: mark the images of a chunk of examples."""
    tools = open_tools(run.settings.ground)
    return lambda examples: [_ground_one(run, tools, example) for example in examples]


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


def _ground_one(run: Run, tools: Sequence[Grounder], example: Example) -> Grounding:
    """What the tools say of an image; without a tool's name where none applies."""

    def load() -> tuple[Pixels, Mask | None]:
        return read_image(run.image_root, example.image.path), read_mask(run.image_root, example)

    tool, region, reasons = mark(tools, load, example.boxes, about(example, run.settings.ground.assume))
    skipped = tuple(reasons)
    if tool is None or region is None:
        return Grounding(
            image_sha256=example.image.sha256, tool="", heatmap_path=None, confidence=None, skipped=skipped
        )
    heatmap_path = None
    if region.heatmap is not None:
        heatmap_path = f"{HEATMAPS}/{example.image.sha256[:16]}.npy"
        with atomic_path(run.work_folder / heatmap_path) as partial, partial.open("wb") as handle:
            np.save(handle, region.heatmap.astype(np.float32))
    return Grounding(
        image_sha256=example.image.sha256,
        tool=tool.name,
        heatmap_path=heatmap_path,
        confidence=region.confidence,
        calibrated=region.calibrated,
        boxes=tuple(region.boxes),
        label=region.label,
        reason=region.reason,
        skipped=skipped,
    )


def _drop(example: Example, why: str) -> Drop:
    return Drop(stage="ground", item=example.image.path, reason="tool-not-applicable", detail=why)
