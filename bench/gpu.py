"""The table of one GPU: `make bench-gpu`, or `python -m bench.gpu --help`.

Shapes of published models with random weights, LoRA and QLoRA, activation checkpointing off and on, TRL beside it, and
FlexAttention beside slices. Every row is stored when it is finished (`GPU.json`); begun again, the command goes on with
the rows that are missing, so nine minutes of a borrowed card at a time are enough.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.throughput.measure import ROOT, Case, Measured, Store, measure
from bench.throughput.models import SHAPES, Shape, build_checkpoint
from bench.throughput.side import Options
from bench.throughput.workloads import WORKLOADS, Workload, flops, tokens

MODELS = {
    "full": {"LLaVA-Med 7B": "7b", "Qwen2.5-VL 7B": "qwen2.5-vl-7b", "MedGemma 4B": "medgemma-4b"},
    "test": {"LLaVA": "test", "Qwen2.5-VL": "test-qwen2.5-vl", "Gemma 3": "test-gemma3"},
}
"""--shape -> name in the table -> name in `models.SHAPES`."""

SETTINGS = {"LoRA, checkpointing": (False, True), "QLoRA, checkpointing": (True, True), "LoRA": (False, False)}
"""Name in the table -> (4 bits, activation checkpointing), the most useful first."""

PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""FLOP/s of dense bfloat16 as the makers' data sheets give them, by a part of the card's name (SXM where there are
several)."""

TOLD = (
    "Not measured: no GPU was at hand. `make bench-gpu` fills this page, in at most nine minutes of one card at a time."
)


def cases(shape: str, device: str, steps: int) -> Iterator[tuple[str, str, Case, tuple[str, ...]]]:
    """(model, setting, case, sides) of every row, in the order they are measured."""
    for setting, (quantised, checkpointing) in SETTINGS.items():
        for model, name in MODELS[shape].items():
            of = SHAPES[name]
            options = Options(dtype=of.dtype, rank=of.rank, alpha=of.alpha, quantised=quantised)
            workload = _workload(of, setting)
            # On a CPU it has no gradient.
            flex = ("flex",) if setting == "LoRA, checkpointing" and device != "cpu" else ()
            yield model, setting, Case(workload, name, device, checkpointing, steps, options), ("ours", "trl", *flex)


def _workload(shape: Shape, setting: str) -> Workload:
    """Eleven questions on an image; the settings differ in the workload's name, by which results are stored."""
    small = shape.name.startswith("test")
    fitted = {"questions": (2,), "question_tokens": 5, "words": shape.words} if small else {}
    return replace(
        WORKLOADS["slake"],
        name=f"slake, {setting}",
        image_tokens=shape.image_tokens,
        image_size=shape.image_size,
        **fitted,
    )


def main(argv: list[str] | None = None) -> None:
    """Measures the rows that are missing while there is time, then writes the page."""
    arguments = _parser().parse_args(argv)
    store = Store.open(arguments.out / "GPU.json")
    ends = time.monotonic() + 60 * arguments.minutes
    left = 0
    for model, setting, case, sides in cases(arguments.shape, arguments.device, arguments.steps):
        measured = store.cases.get(case.key) or Measured(case)
        missing = [side for side in sides if side not in measured.runs and side not in measured.failures]
        for side in missing:
            if time.monotonic() > ends - arguments.row_seconds:
                left += 1
                continue
            print(f"{model}, {setting}, {side}", flush=True)
            folder = _checkpoint(SHAPES[case.shape], arguments)
            one = measure(case, [side], rounds=1, folder=folder, threads=arguments.threads, log=_log)
            measured.runs |= one.runs
            measured.failures |= one.failures
            store.add(measured, f"python -m bench.gpu --shape {arguments.shape}")
    page = arguments.out / "GPU.md"
    page.write_text(render(store, arguments.shape, arguments.device, arguments.steps), encoding="utf-8")
    print(f"wrote {page}" + (f"; {left} rows are left, run it again" if left else ""))


def _checkpoint(shape: Shape, arguments: argparse.Namespace) -> Path:
    """The shape's folder; a disk that holds no second one loses the others first."""
    folder: Path = arguments.checkpoints / shape.name
    arguments.checkpoints.mkdir(parents=True, exist_ok=True)
    needed = 4 * (shape.frozen_weights + 2 * shape.vocabulary * shape.hidden)
    if not folder.exists() and shutil.disk_usage(arguments.checkpoints).free < needed:
        for name in {*MODELS["full"].values()} - {shape.name}:
            shutil.rmtree(arguments.checkpoints / name, ignore_errors=True)
    return build_checkpoint(shape, folder, device=arguments.device)


def render(store: Store, shape: str, device: str, steps: int) -> str:
    """The page."""
    lines = ["# One GPU", "", *_introduction()]
    rows = [row for row in cases(shape, device, steps) if row[2].key in store.cases]
    if not rows:
        return "\n".join([*lines, "", TOLD]) + "\n"
    found = [store.cases[case.key] for _, _, case, _ in rows]
    versions = {
        name: number for case in found for runs in case.runs.values() for name, number in runs[0].versions.items()
    }
    lines += ["", ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + ".", ""]
    lines += [
        "| model | setting | side | s a step | pairs/s | over TRL | tokens/s | share of peak | memory | same losses |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, setting, case, sides in rows:
        measured = store.cases[case.key]
        for side in sides:
            lines.append(
                f"| {model} | {setting} | {_NAMES[side]} | {_cells(measured, side, versions.get('GPU', ''))} |"
            )
    return "\n".join(lines) + "\n"


_NAMES = {"ours": "mmedpo", "trl": "TRL", "flex": "mmedpo, FlexAttention"}


def _cells(measured: Measured, side: str, card: str) -> str:
    if side not in measured.runs:
        return " | ".join([measured.failures.get(side, "not measured"), *["-"] * 6])
    run, seconds = measured.runs[side][0], measured.step_seconds(side)[0]
    case, shape = measured.case, SHAPES[measured.case.shape]
    work = flops(tokens(case.workload), shape.frozen_weights, shape.adapter_weights, 3, case.checkpointing)
    done = work.independent if side == "trl" else work.trie
    peak = next((value for name, value in PEAK.items() if name in card), None)
    ratio, agree = measured.speedup(side), measured.losses_agree(side)
    cells = [
        f"{seconds:.2f}",
        f"{case.workload.pairs_per_step / seconds:.2f}",
        "-" if ratio is None or side == "trl" else f"{ratio[0]:.1f} x",
        f"{max(run.tokens) / seconds:,.0f}",
        "-" if peak is None else f"{done / seconds / peak:.0%}",
        f"{run.peak_memory / 2**30:.1f} GiB",
        {None: "-", True: "yes", False: "NO"}[agree if side != "trl" else None],
    ]
    return " | ".join(cells)


def _introduction() -> list[str]:
    return [
        "    make bench-gpu",
        "",
        "Shapes of published models with random weights in bfloat16, LoRA r = 128 on every linear layer of the "
        "language model, eleven questions on an image with a text and a visual pair each (answers of 10 tokens), the "
        "same loss on the same pairs in the same order on both sides. The first step of a run is not timed. Share of "
        "peak: arithmetic of the language model's linear layers over time, as a share of the card's dense bfloat16 "
        "peak. QLoRA: those layers in 4 bits (NF4). Rows are stored one by one in `GPU.json`.",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--shape", choices=sorted(MODELS), default="full", help="`test`: its twin for a CPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="no row is begun that may not end by then")
    parser.add_argument("--row-seconds", type=float, default=45.0, help="time a row is given room for")
    parser.add_argument("--steps", type=int, default=3, help="optimizer steps of a run; the first is not timed")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "bench", help="where models are written")
    parser.add_argument("--out", type=Path, default=ROOT / "bench", help="folder of GPU.json and GPU.md")
    return parser


def _log(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
