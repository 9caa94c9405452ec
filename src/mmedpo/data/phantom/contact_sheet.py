"""A grid of cases with captions, to look at what the generator makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmedpo.data.phantom.case import PhantomCase
from mmedpo.data.phantom.structure import Finding


def contact_sheet(cases: Sequence[PhantomCase], columns: int, outline: bool = False, zoom: int = 1) -> Image.Image:
    """Lay `cases` out in rows of `columns`, a caption strip below each; `outline` draws mask edges in red."""
    if not cases:
        return Image.new("RGB", (1, 1))
    side = cases[0].image.shape[0] * zoom
    line = 11
    strip = 4 * line + 4
    font = ImageFont.load_default(size=10)
    rows = -(-len(cases) // columns)
    sheet = Image.new("RGB", (columns * (side + 4), rows * (side + strip)), (20, 20, 20))
    pen = ImageDraw.Draw(sheet)
    for index, case in enumerate(cases):
        x, y = (index % columns) * (side + 4), (index // columns) * (side + strip)
        tile = np.repeat(case.image[:, :, None], 3, axis=2)
        if outline:
            tile[_edge(case.mask)] = (255, 60, 60)
        sheet.paste(Image.fromarray(tile).resize((side, side), Image.Resampling.BICUBIC), (x, y))
        captions = [f"{case.modality} {case.plane}"] + [describe(f) for f in case.findings]
        for row, text in enumerate(captions if case.findings else [*captions, "normal"]):
            pen.text((x + 2, y + side + 1 + row * line), text, fill=(230, 230, 230), font=font)
    return sheet


def describe(finding: Finding) -> str:
    """Compact caption of a finding, e.g. `small nodule x2 left upper`."""
    parts = [finding.size, finding.kind, f"x{finding.count}" if finding.count > 1 else "none"]
    return " ".join(part for part in (*parts, finding.side, finding.zone) if part != "none")


def _edge(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    inner = mask.copy()
    inner[1:-1, 1:-1] = mask[1:-1, 1:-1] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    return mask & ~inner
