"""Pictures of the documentation: phantoms, and what noise and groundings look like.

Run: python bench/figures.py docs/images
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mmedpo.data.phantom import BALANCED_PRIORS, contact_sheet, generate_case
from mmedpo.grounding.overlay import overlay
from mmedpo.grounding.tools.patch_probe import shipped
from mmedpo.imaging.noise import noise_image
from mmedpo.records import NoiseSpec

COLUMNS = ("clean", "true lesion", "patch probe", "k = 300", "k = 500", "k = 700", "k = 999", "global", "released")


def main(folder: Path) -> None:
    """Writes `phantoms.png` and `noise.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(_one_of_each(), columns=6, zoom=2).save(folder / "phantoms.png", optimize=True)
    _noise_sheet().save(folder / "noise.png", optimize=True)


def _one_of_each() -> list:
    """Cases with a single finding, every kind twice, then normal ones and slices: 24 in all."""
    chosen, seen, extra = [], {}, []
    for seed in range(4000):
        case = generate_case(seed, BALANCED_PRIORS)
        kinds = [finding.kind for finding in case.findings]
        if case.modality == "x-ray" and len(kinds) == 1 and seen.get(kinds[0], 0) < 2:
            seen[kinds[0]] = seen.get(kinds[0], 0) + 1
            chosen.append(case)
        elif (case.modality != "x-ray" or not kinds) and len(extra) < 6:
            extra.append(case)
        if len(chosen) == 18 and len(extra) == 6:
            break
    return [*chosen, *extra]


def _noise_sheet() -> Image.Image:
    probe = shipped("phantom")
    cases = [case for case in _one_of_each() if case.findings and case.modality == "x-ray"][::3]
    size, head = 128, 16
    sheet = Image.new("RGB", (len(COLUMNS) * (size + 2), head + len(cases) * (size + 2)), "black")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(COLUMNS):
        draw.text((column * (size + 2) + 2, 2), name, fill="white")
    for row, case in enumerate(cases):
        for column, picture in enumerate(_row(case, probe)):
            rgb = picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)
            sheet.paste(Image.fromarray(rgb), (column * (size + 2), head + row * (size + 2)))
    return sheet


def _row(case, probe) -> list:
    region = probe.ground(case.image)
    heat = region.heatmap if region.heatmap is not None else np.zeros(case.image.shape, np.float32)
    noised = [noise_image(case.image, heat, NoiseSpec(step=step)) for step in (300, 500, 700, 999)]
    return [
        case.image,
        overlay(case.image, case.mask.astype(np.float32)),
        overlay(case.image, heat, region.boxes),
        *noised,
        noise_image(case.image, heat, NoiseSpec(step=700, region="global")),
        noise_image(case.image, heat, NoiseSpec(kind="released")),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
