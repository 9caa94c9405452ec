"""A tiny run in which one file operation fails, or the process dies there; then the same command again.

    LD_PRELOAD=faults.so python drill.py FOLDER all|COUNT SEED [MINUTES]

Runs as a program of its own, since the C library has to be replaced before anything is loaded. Every stage
is first executed without a fault, counting its file operations; then, for every chosen operation and kind
of fault, from a copy of the folder as it stood before that stage. What must hold: the fault ends in one line
(or nowhere), and after it the same command ends with the same bytes. The faults come in an order drawn by SEED;
after MINUTES it ends with those it has tried. Prints one JSON object.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import random
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tiny_run import RECIPE

from mmedpo.config import validate_settings
from mmedpo.errors import MMedPOError
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.run import open_run
from mmedpo.storage.files import hash_path

FAULTS = {"ENOSPC": (errno.ENOSPC, 1, 0), "EIO": (errno.EIO, 0, 0), "EACCES": (errno.EACCES, 0, 0), "death": (0, 0, 1)}
"""Name -> (errno, whether it stays, whether the process dies): a disk stays full, the others pass."""

DONE, ONE_LINE, TRACEBACK, DIED = 0, 2, 3, 77

shim = ctypes.CDLL(None)
shim.fault_count.restype = ctypes.c_long


def arm(folder: Path | None, where: int = -1, fault: str = "EIO") -> None:
    number, stays, dies = FAULTS[fault]
    shim.fault_arm(str(folder or "").encode(), ctypes.c_long(where), number, stays, dies)


def in_child(work: Callable[[], None], said: Path) -> int:
    """Exit code of a forked process that does the work; what it says goes to a file."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = DONE
    try:
        work()
    except MMedPOError as error:
        arm(None)
        said.write_text(f"{type(error).__name__}: {error}")
        code = ONE_LINE
    except BaseException:
        arm(None)
        said.write_text(traceback.format_exc())
        code = TRACEBACK
    os._exit(code)


def execute(folder: Path, stage: str) -> None:
    with open_run(folder, validate_settings(RECIPE, "drill")) as run:
        run_stages(run, only=stage)


def state_of(folder: Path) -> dict[str, str]:
    """Every file a user would keep, with its hash."""
    idle = ("manifest.json", "report.html")  # times of day
    files = (path for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {
        path.relative_to(folder).as_posix(): hash_path(path)
        for path in files
        if not path.name.startswith(".") and path.name not in idle
    }


def calm(base: Path, said: Path) -> dict[str, dict]:
    """Every stage without a fault: the folder before it, the operations it takes, the files after it."""
    found = {}
    work = base / "work"
    work.mkdir()
    for stage in plan(validate_settings(RECIPE, "drill")):
        before = base / "before" / stage.name
        shutil.copytree(work, before)
        counted = base / "count"

        def counting(name: str = stage.name, counted: Path = counted) -> None:
            arm(work)
            execute(work, name)
            counted.write_text(str(shim.fault_count()))

        code = in_child(counting, said)
        assert code == DONE, said.read_text()
        found[stage.name] = {"before": before, "operations": int(counted.read_text()), "after": state_of(work)}
    return found


def one(base: Path, name: str, stage: dict, where: int, fault: str, said: Path) -> str:
    """What went wrong with one fault; empty where nothing did."""
    folder = base / "work"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(stage["before"], folder)

    def faulty() -> None:
        arm(folder, where, fault)
        execute(folder, name)

    said.write_text("")
    code = in_child(faulty, said)
    if code not in (DONE, ONE_LINE, DIED):
        return f"exit {code}: {said.read_text()[-1500:]}"
    line = said.read_text()
    if code == ONE_LINE and (len(line) > 500 or "\n" in line):
        return f"not one short line: {line[:600]}"
    said.write_text("")
    code = in_child(lambda: execute(folder, name), said)
    if code != DONE:
        return f"cannot be resumed ({code}): {said.read_text()[-1500:]}"
    after = state_of(folder)
    if after != stage["after"]:
        differing = sorted(n for n in {*after, *stage["after"]} if after.get(n) != stage["after"].get(n))
        return f"other bytes after the resume: {', '.join(differing)} (it said: {line[:200]})"
    return ""


def main(base: Path, wanted: str, seed: int, minutes: float) -> None:
    begun = time.monotonic()
    said = base / "said"
    stages = calm(base, said)
    cases = [(n, w, f) for n, s in stages.items() for w in range(s["operations"]) for f in FAULTS]
    every = len(cases)
    cases = random.Random(seed).sample(cases, every if wanted == "all" else int(wanted))
    failures: list[dict] = []
    tried: Counter[str] = Counter()
    for number, (name, where, fault) in enumerate(cases, start=1):
        wrong = one(base, name, stages[name], where, fault, said)
        tried[fault] += 1
        if wrong:
            failures.append({"stage": name, "operation": where, "fault": fault, "wrong": wrong})
        if number % 50 == 0:
            print(f"{number}/{len(cases)} faults, failures: {json.dumps(failures)}", file=sys.stderr, flush=True)
        if time.monotonic() - begun > 60 * minutes:
            break
    counts = {name: stage["operations"] for name, stage in stages.items()}
    print(json.dumps({"operations": counts, "every": every, "tried": dict(tried), "failures": failures}))


if __name__ == "__main__":
    # What every stage needs is loaded once; the processes that are forked from here share it.
    import mmedpo.stages  # noqa: F401

    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) if sys.argv[4:] else math.inf)
