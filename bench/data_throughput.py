"""Writes docs/results/data.md: how fast images are indexed, noised, and preference rows linted.

Run, with PREFS the preference file released with MMedPO and IMAGES the image folder of VQA-RAD:

    python bench/data_throughput.py PREFS IMAGES docs/results/data.md
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from mmedpo.config import LintSettings
from mmedpo.imaging.index import index_images
from mmedpo.imaging.noise import noise_image
from mmedpo.imaging.perceptual import near_pairs
from mmedpo.lint.linter import Evidence, lint_rows
from mmedpo.preferences.reading import read_rows
from mmedpo.preferences.writing import export_rows
from mmedpo.records import NoiseSpec, PreferenceRow
from mmedpo.storage.tables import write_text

ROUNDS = 3


def main(prefs: Path, images: Path, out: Path) -> None:
    """Measures everything, best of three rounds, and writes one table."""
    rows = read_rows(prefs).rows
    names = sorted(path.name for path in images.iterdir())
    lines = [
        "# Throughput of the data rooms",
        "",
        f"`{' '.join((__doc__ or '').split('VQA-RAD:')[1].split())}`, best of {ROUNDS} rounds.",
        f"{os.cpu_count()} cores ({processor()}), Python {platform.python_version()}, numpy {np.__version__}.",
        "",
        "| what | unit | per second | per second of one core | cores used |",
        "|---|---|---|---|---|",
    ]
    for workers in (1, os.cpu_count() or 1):
        what = f"indexing VQA-RAD (hash, decode, look), {workers} thread{'s' if workers > 1 else ''}"
        lines.append(_line(what, "images", len(names), lambda w=workers: index_images(images, names, workers=w)))
    with tempfile.TemporaryDirectory() as scratch:
        many = _radiographs(Path(scratch), 60)
        for workers in (1, os.cpu_count() or 1):
            what = f"indexing 16-bit PNG of 1024 x 1024, {workers} thread{'s' if workers > 1 else ''}"
            lines.append(
                _line(what, "images", len(many), lambda w=workers: index_images(Path(scratch), many, workers=w))
            )
    for side in (336, 1024):
        lines.append(_noise(side))
    lines.append(_line("reading MMedPO JSON", "rows", len(rows), lambda: read_rows(prefs)))
    settings = LintSettings()
    lines.append(_line("linting (rows, both judges)", "rows", len(rows), lambda: lint_rows(rows, Evidence(), settings)))
    large = _repeated(rows, 20)
    what = f"linting a table of {len(large):,} rows"
    lines.append(_line(what, "rows", len(large), lambda: lint_rows(large, Evidence(), settings), rounds=1))
    with tempfile.TemporaryDirectory() as scratch:
        for name, file in (("ms-swift", "a.jsonl"), ("trl", "a.parquet")):
            path = Path(scratch) / file
            what = f"writing {name}" + (" (images inside)" if name == "trl" else "")
            lines.append(_line(what, "rows", len(rows), lambda n=name, p=path: export_rows(rows, p, n, images)))
    looks = [np.random.default_rng(n).bytes(32).hex() for n in range(20_000)]
    what = "comparing pictures by perceptual hash (20,000 against 2,000)"
    lines.append(_line(what, "pairs", 20_000 * 2_000, lambda: near_pairs(looks, looks[:2_000])))
    write_text(out, "\n".join(lines) + "\n")
    print("\n".join(lines))


def _line(what: str, unit: str, count: int, work: Callable[[], object], rounds: int = ROUNDS) -> str:
    best, busy = float("inf"), 0.0
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        work()
        seconds = time.perf_counter() - started
        if seconds < best:
            best, busy = seconds, time.process_time() - used
    rates = (count / best, count / busy)
    told = " | ".join(f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" for rate in rates)
    return f"| {what} | {unit} | {told} | {busy / best:.1f} |"


def _noise(side: int) -> str:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side), dtype=np.uint8)
    y, x = np.mgrid[0:side, 0:side] / side
    heat = np.exp(-((x - 0.4) ** 2 + (y - 0.6) ** 2) / 0.02).astype(np.float32)
    spec = NoiseSpec(step=700)
    count = 20 if side < 1000 else 5
    what = f"noising {side} x {side} px (Eq. 2, soft heatmap), one core"
    return _line(what, "images", count, lambda: [noise_image(image, heat, spec) for _ in range(count)])


def _radiographs(folder: Path, count: int) -> list[str]:
    coarse = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((1024, 1024), Image.Resampling.BICUBIC)).astype(np.uint16)
    names = [f"{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        Image.fromarray(smooth * 15 + number).save(folder / name)
    return names


def _repeated(rows: list[PreferenceRow], times: int) -> list[PreferenceRow]:
    return [
        row.model_copy(update={"row_id": f"{row.row_id}-{n}", "source_row": n * len(rows) + row.source_row})
        for n in range(times)
        for row in rows
    ]


def processor() -> str:
    """Name of the machine's processor."""
    told = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return told[0].split(":")[1].strip() if told else platform.machine()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
