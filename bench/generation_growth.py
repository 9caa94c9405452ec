"""How the cost of an answer grows with samples a question and with images a question: raw figures, plot, page.

    python -m bench.generation_growth        # bench/generation-growth.json, docs/generation-growth.md and its picture

Both sides are those of `bench.generation`; tokens are counted, seconds are the processor's.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from bench.generation import ROOT, SIDES, Result, Task, command_of, measure
from bench.throughput.measure import machine
from bench.throughput.models import SHAPES, Shape, build_checkpoint
from bench.throughput.workloads import WORKLOADS
from mmedpo.report.svg import COLOURS, Scale, drawing, label, rule, tag
from mmedpo.storage.tables import write_text

SAMPLES = (1, 2, 4, 8)
IMAGES = (1, 2, 3)
AXES = {"samples": "samples a question", "images": "images a question"}
QUANTITIES = {"prompt_tokens": "prompt tokens", "seconds": "seconds"}
WIDE, HIGH = 440.0, 260.0
"""Of a panel, pixels."""
ABOUT = """Four questions of 40 tokens on the same pictures of {tokens} tokens, answers of 10. With `generate` every
answer pays for its pictures and its question, so it costs the same whatever the number of samples. Here pictures and
question are read once: each further sample adds only its own tokens, and an answer gets cheaper with every one. With
more pictures a question both sides grow, for a question must read them all; the four questions share one reading."""


def tasks(shape: Shape) -> dict[str, dict[int, Task]]:
    """By axis and value: what is answered."""
    base = replace(
        WORKLOADS["slake"],
        questions=(4,),
        image_tokens=shape.image_tokens,
        image_size=shape.image_size,
        words=min(WORKLOADS["slake"].words, shape.words),
    )
    by_samples = {n: Task(f"{n} samples", base, 1, n, 10) for n in SAMPLES}
    by_images = {n: Task(f"{n} images", base, 1, 1, 10, images=n) for n in IMAGES}
    return {"samples": by_samples, "images": by_images}


def figures(results: Mapping[str, Result]) -> dict[str, Any]:
    """What is kept of a task: of each side, an answer's prompt tokens and seconds; and how many answers agree."""
    kept: dict[str, Any] = {}
    for side in SIDES:
        result, answers = results[side], len(results[side].texts)
        kept[side] = {
            "prompt_tokens": result.counts.prompts / answers,
            "seconds": statistics.median(result.seconds) / answers,
            "runs": result.seconds,
            "counts": asdict(result.counts),
        }
    texts = [results[side].texts for side in SIDES]
    return {**kept, "answers": len(texts[0]), "same": sum(a == b for a, b in zip(*texts, strict=True))}


def draw(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Two rows (prompt tokens, seconds an answer) by two columns (samples, images), by powers of two, as SVG."""
    parts: list[str] = []
    for column, axis in enumerate(AXES):
        for row, what in enumerate(QUANTITIES):
            parts += _panel(found[axis], axis, what, column * WIDE, row * HIGH)
    title = "What an answer costs against samples and images a question"
    drawn = drawing(2 * WIDE, 2 * HIGH, title, "Tokens above, seconds below; generate and mmedpo.", parts)
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)  # a file of its own


def _panel(found: Mapping[str, Any], axis: str, what: str, left: float, top: float) -> list[str]:
    values = sorted(map(int, found))
    heights = {side: [found[str(value)][side][what] for value in values] for side in SIDES}
    every = [math.log2(height) for own in heights.values() for height in own]
    across = Scale(math.log2(values[0]), math.log2(values[-1]), left + 60, left + WIDE - 90)
    up = Scale(math.floor(min(every)), math.ceil(max(every)), top + HIGH - 45, top + 30)
    parts = [label(left + 60, top + 18, f"{QUANTITIES[what]} an answer")]
    for value in values:
        at = across(math.log2(value))
        parts += [rule(at, top + 30, at, top + HIGH - 45, opacity=0.15)]
        parts += [label(at, top + HIGH - 28, str(value), anchor="middle")]
    parts += [label(left + WIDE / 2, top + HIGH - 10, AXES[axis], anchor="middle")]
    for power in range(math.floor(min(every)), math.ceil(max(every)) + 1):
        parts += [rule(left + 60, up(power), left + WIDE - 90, up(power), opacity=0.15)]
        parts += [label(left + 54, up(power) + 4, f"{2.0**power:.3g}", anchor="end")]
    for side, colour in zip(SIDES, COLOURS, strict=False):
        own = [(across(math.log2(v)), up(math.log2(h))) for v, h in zip(values, heights[side], strict=True)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in own)
        parts += [tag("polyline", points=drawn, fill="none", stroke=colour, stroke_width=2)]
        parts += [label(own[-1][0] + 6, own[-1][1] + 4, side)]
    return parts


def page(found: Mapping[str, Mapping[str, Any]], facts: Mapping[str, str], shape: Shape, command: str) -> str:
    """The Markdown page around the plot."""
    about = ABOUT.format(tokens=shape.image_tokens)
    lines = ["# How the cost of an answer grows", "", about, ""]
    lines += ["![Prompt tokens and seconds an answer](images/generation-growth.svg)", ""]
    for axis, title in AXES.items():
        lines += [
            f"| {title} | prompt tokens an answer, `generate` | mmedpo | fewer by | `generate`, s an answer | mmedpo | "
            "faster by | same answers |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(value, found[axis][str(value)]) for value in sorted(map(int, found[axis]))]
        lines += [""]
    where = f"{facts['cores']} cores ({facts['cpu']}), {facts['memory']}"
    lines += [
        f"Seconds of the processor, one thread: {where}; model `{shape.name}`, random weights. Made by `{command}`; "
        "figures: `bench/generation-growth.json`. A training pair: [engine-growth.md](engine-growth.md); rows "
        "of a data set: [bench/SCALE.md](../bench/SCALE.md)."
    ]
    return "\n".join(lines) + "\n"


def _row(value: int, found: Mapping[str, Any]) -> str:
    stock, ours = (found[side] for side in SIDES)
    cells = [f"{value}"]
    for what, form in (("prompt_tokens", ",.0f"), ("seconds", ".3f")):
        cells += [f"{stock[what]:{form}}", f"{ours[what]:{form}}", f"{stock[what] / ours[what]:.1f} x"]
    return "| " + " | ".join([*cells, f"{found['same']} of {found['answers']}"]) + " |"


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes raw figures, plot and page."""
    parser = argparse.ArgumentParser(prog="python -m bench.generation_growth", description=__doc__)
    parser.add_argument("--shape", choices=sorted(SHAPES), default="small")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "bench")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="folder of the raw figures")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    shape = SHAPES[arguments.shape]
    folder = build_checkpoint(shape, arguments.checkpoints / shape.name, device="cpu")
    found: dict[str, dict[str, Any]] = {}
    for axis, by_value in tasks(shape).items():
        for value, task in by_value.items():
            kept = figures(measure(folder, task, shape.dtype, "cpu", arguments.rounds, batch=8))
            found.setdefault(axis, {})[str(value)] = kept
            print(axis, _row(value, kept), flush=True)
    command = command_of(parser, arguments, "shape", "rounds")
    content = {"command": command, "shape": shape.name, "machine": machine(), "found": found}
    (arguments.out / "generation-growth.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (arguments.docs / "images").mkdir(parents=True, exist_ok=True)
    write_text(arguments.docs / "images" / "generation-growth.svg", draw(found))
    text = page(found, content["machine"], shape, command)
    (arguments.docs / "generation-growth.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
