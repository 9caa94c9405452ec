"""Ten phantoms through visual tools: image, heat, noised view. Usage: python bench/tool_sheet.py OUT.png

Rows: the image; heat and noised view of the patch probe; heat and noised view of the annotation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from mmedpo.data.phantom import BALANCED_PRIORS, PhantomCase, generate_case
from mmedpo.grounding.grounder import Grounder
from mmedpo.grounding.overlay import overlay
from mmedpo.grounding.tools.annotation import AnnotationGrounder
from mmedpo.grounding.tools.patch_probe import shipped
from mmedpo.imaging.noise import noise_image
from mmedpo.records import NoiseSpec
from mmedpo.records.shapes import Pixels

FIRST_SEED, CASES, STEP = 950_000_000, 10, 700
"""Far from the seeds of any dataset the package writes."""


def shown(case: PhantomCase, tool: Grounder, seed: int) -> list[Pixels]:
    """Heat over the image, and the noised view; black where the tool marks nothing."""
    region = tool.ground(case.image, (), case.mask)
    if region.heatmap is None:
        return [np.zeros((*case.image.shape[:2], 3), dtype=np.uint8)] * 2
    noised = noise_image(case.image, region.heatmap, NoiseSpec(step=STEP, seed=seed))
    return [overlay(case.image, region.heatmap), overlay(noised, None)]


def main(out: Path) -> None:
    """Draws the first CASES phantoms with a lesion."""
    columns: list[Pixels] = []
    seed = FIRST_SEED
    while len(columns) < CASES:
        case = generate_case(seed, BALANCED_PRIORS)
        seed += 1
        if case.mask.any():
            tools: tuple[Grounder, ...] = (shipped("phantom"), AnnotationGrounder())
            rows = [overlay(case.image, None), *(picture for tool in tools for picture in shown(case, tool, seed))]
            columns.append(np.vstack(rows))
    Image.fromarray(np.hstack(columns)).save(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
