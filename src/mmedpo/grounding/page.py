"""The page of `mmedpo ground evaluate`: numbers, calibration and overlays in one self-contained file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mmedpo.grounding.comparison import SIZE, Line
from mmedpo.grounding.evaluation import Evaluated
from mmedpo.grounding.grounder import Grounder, resize_map, to_grey
from mmedpo.grounding.marking import open_marked, scaled_boxes
from mmedpo.grounding.measures import calibration
from mmedpo.grounding.overlay import overlay
from mmedpo.grounding.tables import HOW, counts, without_map
from mmedpo.records import Box
from mmedpo.records.shapes import Pixels
from mmedpo.storage.tables import write_text

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1b1b;background:#fff}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{border-bottom:1px solid #ddd;padding:.2rem .7rem;"
    "text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}figure{display:inline-block;margin:.3rem}"
    "figcaption{font-size:12px;max-width:224px}summary{cursor:pointer;font-weight:600}"
)
FRAME = (
    '<rect x="30" y="10" width="200" height="200" fill="none" stroke="#999"/>'
    '<path d="M30 210L230 10" stroke="#bbb"/>'
    '<text x="130" y="232" font-size="11" text-anchor="middle">confidence, 0 to 1</text>'
    '<text x="12" y="110" font-size="11" text-anchor="middle" transform="rotate(-90 12 110)">share with a lesion</text>'
)
"""The reliability diagram's box and diagonal, 200 px for 0..1."""


def write_page(
    found: Evaluated,
    tools: Sequence[Grounder],
    annotations: Path,
    images: Path,
    out: Path,
    *,
    pictures: int = 12,
    seed: int = 0,
) -> None:
    """Writes `out` (HTML) and the same numbers as `.json` beside it.

    Args:
        pictures: images with a lesion that are drawn, chosen by the seed and not by how well a tool did.
    """
    numbers = {"lines": [line.model_dump(mode="json") for line in found.lines], "left_out": dict(found.left_out)}
    write_text(out.with_suffix(".json"), json.dumps(_finite(numbers), indent=1) + "\n")
    names = [tool.name for tool in tools]
    left_out = "".join(f"<p>{count} entries: {html.escape(why)}.</p>" for why, count in found.left_out.items())
    what = f"{', '.join(names)} on {annotations.name}. {counts(found.cases)}"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>Visual tools on annotated images</title>",
        f"<style>{STYLE}</style><h1>Visual tools on annotated images</h1>",
        f"<p>{html.escape(what)}</p>",
        left_out,
        f"<p>{html.escape(HOW)}</p>",
        _unscored(found, names),
        *(_group(found.lines, group) for group in dict.fromkeys(line.group for line in found.lines)),
        *(_calibration(found, name) for name in names),
        _pictures(found, names, images, pictures, seed),
    ]
    write_text(out, "\n".join(part for part in parts if part) + "\n")


def _group(lines: Sequence[Line], group: str) -> str:
    rows = []
    for line in (line for line in lines if line.group == group):
        number = line.number
        told = "unscored" if np.isnan(number.value) else f"{number.value:.3f}"
        interval = "" if np.isnan(number.low) else f"{number.low:.3f} to {number.high:.3f}"
        rows.append(
            f"<tr><td>{html.escape(line.measure)}<td>{html.escape(line.who)}<td class=n>{told}<td class=n>{interval}"
            f"<td class=n>{number.n}<td class=n>{number.patients}"
        )
    head = "<tr><th>measure<th>who<th>value<th>95 % interval<th>images<th>patients"
    opened = " open" if group == "all" or group.startswith("projection") else ""
    return f"<details{opened}><summary>{html.escape(group)}</summary><table>{head}{''.join(rows)}</table></details>"


def _unscored(found: Evaluated, names: Sequence[str]) -> str:
    """How many images each tool left without a map, and why."""
    told = [f"<li>{html.escape(line)}" for line in without_map(found.cases, names)]
    return f"<ul>{''.join(told)}</ul>" if told else ""


def _calibration(found: Evaluated, name: str) -> str:
    """Reliability diagram: confidence across, share with a lesion up, as if half of the images had one."""
    told = [case for case in found.cases if name in case.confidences and (case.positive or case.normal)]
    positive = np.array([case.positive for case in told], dtype=bool)
    if not positive.any() or positive.all():
        return ""
    bins = calibration(np.array([case.confidences[name] for case in told]), positive)
    dots = "".join(
        f'<circle cx="{30 + 200 * sure:.1f}" cy="{210 - 200 * seen:.1f}" r="{2 + np.sqrt(count) / 2:.1f}" '
        f'fill="#0a6b8a"><title>{sure:.2f} said, {seen:.2f} seen, {count} images</title></circle>'
        for sure, seen, count in bins
    )
    caption = f"Calibration of {html.escape(name)}, as if half of the images had a lesion; {len(told)} images."
    picture = f'<svg width="250" height="240" role="img">{FRAME}{dots}</svg>'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _pictures(found: Evaluated, names: Sequence[str], images: Path, pictures: int, seed: int) -> str:
    marked = [place for place, case in enumerate(found.cases) if case.positive]
    chosen = np.random.default_rng([seed]).permutation(len(marked))[:pictures]
    rows = []
    for place in sorted(marked[one] for one in chosen):
        case, row = found.cases[place], found.rows[place]
        image = open_marked(images, row)
        small = _small(image)
        boxes = [_onto(box, *image.shape[:2]) for box in scaled_boxes(row, *image.shape[:2])]
        shown = [_figure(overlay(small, None, boxes), f"{case.image}: {', '.join(case.findings) or 'marked'}")]
        for name in names:
            heat = case.maps.get(name)
            sure = f", confidence {case.confidences[name]:.2f}" if name in case.confidences else ""
            why = f": {case.reasons[name]}" if name in case.reasons else ""
            shown.append(_figure(overlay(small, heat, boxes), f"{name}{sure}{why}"))
        rows.append(f"<div>{''.join(shown)}</div>")
    if not rows:
        return ""
    title = f"<h2>{len(rows)} images with a lesion, drawn by lot</h2><p>Outlines: the annotation.</p>"
    return title + "".join(rows)


def _small(image: Pixels) -> Pixels:
    return np.clip(np.rint(resize_map(to_grey(image), SIZE, SIZE)), 0, 255).astype(np.uint8)


def _onto(box: Box, height: int, width: int) -> Box:
    across, down = SIZE / width, SIZE / height
    return Box(x0=box.x0 * across, y0=box.y0 * down, x1=box.x1 * across, y1=box.y1 * down, label=box.label)


def _figure(picture: Pixels, caption: str) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    told = html.escape(caption)
    shown = f'<img src="data:image/jpeg;base64,{data}" width="{SIZE}" alt="{told}">'
    return f"<figure>{shown}<figcaption>{told}</figcaption></figure>"


def _finite(value: object) -> object:
    """The same with None for numbers that are none: JSON has no nan."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
