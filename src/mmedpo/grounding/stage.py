"""The `ground` stage: one heatmap and confidence per training image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from mmedpo.config import RunSettings
from mmedpo.errors import GroundingError
from mmedpo.grounding.grounder import About, Grounder, Organ, OrganMapper, Region
from mmedpo.grounding.library import about, apart, fingerprint, open_tools, read_mask
from mmedpo.imaging.images import read_image
from mmedpo.records import Box, Drop, Example, Grounding
from mmedpo.records.shapes import Heatmap, Mask, Pixels
from mmedpo.run import Run, Stage
from mmedpo.run.layout import EXAMPLES, GROUNDINGS, HEATMAPS
from mmedpo.storage.files import share
from mmedpo.storage.tables import atomic_path

CHUNK = 32
"""Images grounded between two notes of how far it got."""


def stage(settings: RunSettings) -> Stage:
    """What grounding is made from."""
    decides = fingerprint(settings.ground) | ({"organs": True} if settings.maps_organs else {})
    return Stage("ground", ground, decides, reads=(EXAMPLES,), writes=(GROUNDINGS, HEATMAPS))


def ground(run: Run) -> list[Grounding]:
    """Asks the visual tools, in order of preference, for every training image; the first that applies marks it.

    Of a question on several images each is asked about (`apart`).

    Writes `groundings.parquet` and `groundings/<image>.npy` (float32 heatmaps, 0..1). A tool that does not
    apply to an image is a counted drop with its reason, whether or not a later one did. Where the noise goes into
    the organ, its map (`groundings/<image>-organ.npy`) is of the first tool that applies and knows it.

    Raises:
        GroundingError: the noise goes into the organ, and no image has a map of one.
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
    if run.settings.maps_organs and not any(one.organ_path for one in groundings):
        raise GroundingError(
            f"curate.noise.region='organ', but {', '.join(run.settings.ground.tools)} found an organ in none of "
            f"{len(fitting)} images; give the data organ boxes, name a tool that maps them, or set region 'lesion'"
        )
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


def map_organ(
    tools: Sequence[Grounder], load: Callable[[], tuple[Pixels, Mask | None]], boxes: Sequence[Box], image: About
) -> tuple[str, Organ | None]:
    """Name and organ of the first tool that applies to the image and finds one there; empty and None without."""
    for tool in tools:
        if isinstance(tool, OrganMapper) and not tool.applies(image.modality, image.organ, image.view):
            pixels, mask = load()
            organ = tool.organs(pixels, boxes, mask, image)
            if organ is not None and organ.heatmap.any():
                return tool.name, organ
    return "", None


def _ground_one(run: Run, tools: Sequence[Grounder], example: Example) -> Grounding:
    """What the tools say of an image; without a tool's name where none applies."""
    pixels = cache(lambda: read_image(run.image_root, example.image.path))
    told, sha = about(example, run.settings.ground.assume), example.image.sha256
    tool, region, reasons = mark(
        tools, lambda: (pixels(), read_mask(run.image_root, example.mask_path)), example.boxes, told
    )
    mapper, organ = "", None
    if run.settings.maps_organs:
        mapper, organ = map_organ(
            tools, lambda: (pixels(), read_mask(run.image_root, example.organ_mask_path)), example.organs, told
        )
    nothing = {"heatmap_path": None, "confidence": None, "reason": "no-lesion-map"}
    found = Grounding(image_sha256=sha, tool=mapper, skipped=tuple(reasons), **nothing)
    if tool is not None and region is not None:
        found = found.model_copy(
            update={
                "tool": tool.name,
                "heatmap_path": None if region.heatmap is None else _stored(run, sha[:16], region.heatmap),
                "confidence": region.confidence,
                "calibrated": region.calibrated,
                "boxes": tuple(region.boxes),
                "label": region.label,
                "reason": region.reason,
                "anatomy": region.anatomy,
            }
        )
    if organ is None:
        return found
    path = _stored(run, f"{sha[:16]}-organ", organ.heatmap)
    told_organ = {"organ_path": path, "organ": organ.label, "organ_tool": mapper}
    return found.model_copy(update={**told_organ, "anatomy": found.anatomy or organ.anatomy})


def _stored(run: Run, name: str, heatmap: Heatmap) -> str:
    """Writes a map, and says where it lies in the run folder."""
    path = f"{HEATMAPS}/{name}.npy"
    with atomic_path(run.work_folder / path) as partial, partial.open("wb") as handle:
        np.save(handle, heatmap.astype(np.float32))
    return path


def _drop(example: Example, why: str) -> Drop:
    return Drop(stage="ground", item=example.image.path, reason="tool-not-applicable", detail=why)
