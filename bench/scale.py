"""What a table of 10,000, 100,000 and a million rows takes: time and peak memory of every stage that reads tables only.

    python -m bench.scale                       # an hour and a half; writes bench/SCALE.md and docs/images/scale.svg
    python -m bench.scale --sizes 10000

Rows are generated: questions on a radiograph, a true answer and a wrong one, of the length of real ones. Every
measurement is a process of its own; its memory is the largest it ever had, Python and libraries included.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.data_throughput import processor
from mmedpo.report.svg import COLOURS, Scale, drawing, label, rule, tag
from mmedpo.storage.tables import write_text

REPOSITORY = Path(__file__).resolve().parents[1]
RESULT, FIGURE = REPOSITORY / "bench" / "SCALE.md", REPOSITORY / "docs" / "images" / "scale.svg"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FULL = 100_000
"""Rows from which on what is held for a while is as large as it gets."""
STAGES = {
    "import": "what `mmedpo import` does beside looking at images: another program's JSON Lines to the canonical table",
    "lint": "`mmedpo lint`: that table, every check that needs no image and no tokenizer",
    "export": "`mmedpo export`: that table to the layout of ms-swift, no image moved",
    "score": "the stage `score`: three rule agents debate every pair, then weights",
    "score at once": "the same stage with three agents that need no time to think, in debates of five turns",
}
FINDINGS = ("nodule", "pleural effusion", "pneumothorax", "consolidation", "cardiomegaly", "rib fracture")
PLACES = ("left upper zone", "right lower zone", "left lower zone", "right apex", "lingula")


class Measured(NamedTuple):
    """One stage at one size."""

    stage: str
    rows: int
    seconds: float
    megabytes: float


def texts(number: int) -> tuple[str, str, str]:
    """Question, true answer and wrong answer of one row; the same whenever it is asked for."""
    draw = random.Random(number)
    finding, place, other = draw.choice(FINDINGS), draw.choice(PLACES), draw.choice(PLACES)
    view = draw.choice(("AP", "PA", "lateral"))
    return (
        f"In this {view} radiograph of patient {number}, where is the {finding}, if there is one?",
        f"There is a {finding} in the {place}, {draw.randint(4, 40)} mm across; the heart is not enlarged.",
        f"There is no {finding}; the {other} is clear, {draw.randint(4, 40)} mm of fluid are seen at the base.",
    )


def prepare(folder: Path, count: int) -> None:
    """The rows as a file of another program, and as the curated pairs of a run."""
    from mmedpo.config import RunSettings
    from mmedpo.records import ImageRef, PreferencePair
    from mmedpo.run import open_run
    from mmedpo.run.layout import CURATED
    from mmedpo.storage.held import Held

    pairs = Held(PreferencePair)
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(count):
            question, chosen, rejected = texts(number)
            path = f"img/{number // 4}.png"
            turns = [{"role": "user", "content": f"<image>{question}"}, {"role": "assistant", "content": chosen}]
            row = {"messages": turns, "rejected_response": rejected, "images": [path]}
            file.write(json.dumps(row) + "\n")
            image = ImageRef(path=path, sha256=f"{number // 4:064x}", width=512, height=512)
            common = {"image": image, "question": question, "chosen": chosen, "rejected": rejected}
            pairs.append(PreferencePair(pair_id=f"{number}/text", example_id=str(number), kind="text", **common))
    with open_run(folder / "run", RunSettings()) as run:
        run.write(CURATED, PreferencePair, pairs)


def import_rows(folder: Path) -> None:
    """The other program's file to the canonical table."""
    from mmedpo.preferences.reading import read_rows
    from mmedpo.preferences.writing import export_rows

    export_rows(read_rows(folder / "rows.jsonl").rows, folder / "rows.parquet", "mmedpo", folder)


def lint(folder: Path) -> None:
    """Checks the canonical table."""
    from mmedpo.config import LintSettings
    from mmedpo.lint.linter import Evidence, lint_rows
    from mmedpo.preferences.reading import read_rows

    lint_rows(read_rows(folder / "rows.parquet").numbered(), Evidence(), LintSettings())


def export(folder: Path) -> None:
    """The canonical table to that of another program."""
    from mmedpo.preferences.reading import read_rows
    from mmedpo.preferences.writing import export_rows

    export_rows(read_rows(folder / "rows.parquet").rows, folder / "out.jsonl", "ms-swift", folder)


def score(folder: Path, *agents: str) -> None:
    """Has every pair debated, by rules where no agents are named, and weighed."""
    from mmedpo.config import RunSettings
    from mmedpo.run import open_run
    from mmedpo.score.stage import stage

    settings = RunSettings(score={"agents": agents} if agents else {})
    with open_run(folder / "run", settings) as run:
        run.execute(stage(run.settings))


def score_at_once(folder: Path) -> None:
    """The same with agents that need no time: what is measured is the stage alone."""
    from mmedpo.records import Turn
    from mmedpo.registry import register
    from mmedpo.score.debate import Case, Opinion, agree, rescore

    def agent(place: int) -> type:
        class AtOnce:
            """The first and the last one score, so that every debate has five turns."""

            name = f"at-once-{place}"

            def first(self, case: Case) -> Opinion:
                return rescore(len(case.rejected) % 10 / 10, f"{case.question} {case.rejected}")

            def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
                said = f"{case.question} {case.rejected}"
                return rescore(len(case.rejected) % 10 / 10 + 0.1, said) if place == 2 else agree(said)

        return AtOnce

    agents = [f"at-once-{place}" for place in range(3)]
    for place, name in enumerate(agents):
        register("agent", name)(agent(place))
    score(folder, *agents)


def main() -> None:
    """Measures, one process for each stage and size, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--one", nargs=2, metavar=("STAGE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        measure(given.one[0], Path(given.one[1]))
        return
    found = []
    for rows in given.sizes:
        with tempfile.TemporaryDirectory() as scratch:
            prepared = multiprocessing.get_context("spawn").Process(target=prepare, args=(Path(scratch), rows))
            prepared.start()
            prepared.join()
            for stage in STAGES:
                command = [sys.executable, "-m", "bench.scale", "--one", stage, scratch]
                done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
                found.append(Measured(stage, rows, *json.loads(done.stdout)))
                print(*found[-1], flush=True)
    write_text(FIGURE, draw(found))
    write_text(RESULT, page(found))


def measure(stage: str, folder: Path) -> None:
    """One stage in this process; tells seconds of processor time and megabytes."""
    import mmedpo.curate.pairs
    import mmedpo.lint.linter
    import mmedpo.preferences.writing
    import mmedpo.score.stage  # noqa: F401

    work = {"import": import_rows, "lint": lint, "export": export, "score": score, "score at once": score_at_once}
    started = time.process_time()
    work[stage](folder)
    print(json.dumps([time.process_time() - started, peak()]))


def peak() -> float:
    """Most memory this process has had, in megabytes."""
    # What `getrusage` says begins with what the parent had.
    told = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(told.split()[1]) / 1024


def page(found: Sequence[Measured]) -> str:
    """The results as a page."""
    sizes = sorted({one.rows for one in found})
    of = {(one.stage, one.rows): f"{one.seconds:,.1f} s, {one.megabytes:,.0f} MB" for one in found}
    lines = [
        "# Tables of many rows",
        "",
        "    python -m bench.scale",
        "",
        *(f"- **{stage}**: {what}." for stage, what in STAGES.items()),
        "",
        "Rows are generated, of 400 bytes of JSON each. A process each: its processor time, and the most memory it",
        "had, Python and libraries included. Bytes a row are from the two largest sizes; a million rows, where they",
        "were not run, are reckoned from these and the time of the largest.",
        "",
        f"| stage | {' | '.join(f'{rows:,} rows' for rows in sizes)} | bytes a row | a million rows |",
        "|---|" + "---|" * (2 + len(sizes)),
    ]
    for stage in STAGES:
        small, large = sorted((one for one in found if one.stage == stage), key=lambda one: one.rows)[-2:]
        each = max(0.0, (large.megabytes - small.megabytes) * 2**20 / (large.rows - small.rows))
        minutes, ahead = large.seconds / large.rows * 1e6 / 60, large.megabytes + each * (1e6 - large.rows) / 2**20
        # Of fewer rows the buffers are not full, and memory grows with them.
        grown = large.rows >= FULL
        reckoned = f"{minutes:,.0f} min{f', {ahead:,.0f} MB' if grown else ''}, reckoned"
        cells = [of.get((stage, rows), "not run") for rows in sizes]
        each_row = f"{each:,.0f}" if grown else ""
        lines.append(f"| {stage} | {' | '.join(cells)} | {each_row} | {'run' if large.rows >= 1e6 else reckoned} |")
    machine = f"{os.cpu_count()} cores ({processor()}), Python {platform.python_version()}."
    return "\n".join([*lines, "", "![Memory against rows](../docs/images/scale.svg)", "", machine, ""])


def draw(found: Sequence[Measured]) -> str:
    """Memory against rows, both by powers of ten, as SVG."""
    wide, high, left, bottom = 460.0, 260.0, 60.0, 40.0
    rows, megabytes = max(one.rows for one in found), max(one.megabytes for one in found)
    decades = math.ceil(math.log10(rows)), math.ceil(math.log10(megabytes))
    across = Scale(3, decades[0], left, wide - 90)
    up = Scale(1, decades[1], high - bottom, 20)
    parts = []
    for power in range(3, decades[0] + 1):
        parts += [rule(across(power), 20, across(power), high - bottom, opacity=0.15)]
        parts += [label(across(power), high - bottom + 18, f"{10**power:,}", anchor="middle")]
    for power in range(1, decades[1] + 1):
        parts += [rule(left, up(power), wide - 90, up(power), opacity=0.15)]
        parts += [label(left - 6, up(power) + 4, f"{10**power:,} MB", anchor="end")]
    lowest = high
    ends = {stage: max((one for one in found if one.stage == stage), key=lambda one: one.rows) for stage in STAGES}
    colours = dict(zip(STAGES, COLOURS, strict=False))
    for stage in sorted(STAGES, key=lambda stage: ends[stage].megabytes):
        own = sorted((one for one in found if one.stage == stage), key=lambda one: one.rows)
        points = [(across(math.log10(one.rows)), up(math.log10(one.megabytes))) for one in own]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(tag("polyline", points=drawn, fill="none", stroke=colours[stage], stroke_width=2))
        # Names stand one above the other where lines end together.
        lowest = min(lowest - 13, points[-1][1] + 4)
        parts.append(label(wide - 84, lowest, stage, fill=colours[stage]))
    title = "Peak memory of each stage against rows"
    drawn = drawing(wide, high, title, "A million rows take a few times the memory of a thousand.", parts)
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)  # a file of its own


if __name__ == "__main__":
    main()
