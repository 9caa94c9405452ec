"""A tiny run in which one file operation fails, or the process dies there; then the same command again.

    LD_PRELOAD=faults.so python drill.py FOLDER all|COUNT SEED

Runs as a program of its own, since the C library has to be replaced before anything is loaded. Every stage
is first executed without a fault, counting its file operations; then every chosen operation meets every chosen kind
of fault, the folder being as it stood before that stage. What must hold: the fault ends in one line (or nowhere), and
after it the same command ends with the same bytes. COUNT faults are drawn by SEED. Ended before its end and begun
again with the same folder it goes on. Prints one JSON object.

What makes it cheap, and what keeps that honest:

- Modules and patterns are loaded once; processes are forked from there. A stage must then end in the same bytes as in a
  process that had loaded nothing; where it does other file operations, the difference is told (`irregular`).
- One execution of a stage stops before each operation (`walking.py`). A death leaves the folder as it stands there; an
  error is met by a copy of the process.
- What the same command does again depends on the folder alone. Faults that leave the same folder (the same names and
  bytes, all hidden ones too; times of day and process numbers apart) are followed by one resume; and a resume that has
  opened the run, and by that made the same folder of it as one before, is followed no further.
- Of each of these short cuts every 20th is gone the long way too, and must come to the same.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import hashlib
import importlib
import itertools
import json
import os
import random
import re
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiny_run import RECIPE
from walking import Walk

from mmedpo.config import validate_settings
from mmedpo.errors import MMedPOError
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.run import open_run
from mmedpo.run.layout import MANIFEST
from mmedpo.run.opening import HOLDER
from mmedpo.storage.files import hash_path, stamp_path
from mmedpo.storage.tables import PARTIAL

FAULTS = {"ENOSPC": (errno.ENOSPC, 1, 0), "EIO": (errno.EIO, 0, 0), "EACCES": (errno.EACCES, 0, 0), "death": (0, 0, 1)}
"""Name -> (errno, whether it stays, whether the process dies): a disk stays full, the others pass."""

DONE, ONE_LINE, TRACEBACK, DIED = 0, 2, 3, 77

CONTROL = 20
"""One in so many short cuts is gone the long way too."""

TURNS = 8
"""Every stage has its turn so often, with other operations each time: ended early, a drill has been everywhere."""

shim = ctypes.CDLL(None)


@dataclass
class Calm:
    """A stage without a fault: the folder before it, its operations, the files after it."""

    before: Path
    operations: list[str]
    """Which, and on what; what differs every time (numbers of processes, drawn names) apart."""
    after: dict[str, str]
    hidden: set[str]


def hidden_of(folder: Path) -> set[str]:
    """Files that are no one's to keep, outside what the next stages work with."""
    files = (path.relative_to(folder) for path in folder.rglob(".*") if path.is_file())
    return {file.as_posix() for file in files if ".work" not in file.parts}


def noted(file: Path) -> list[str]:
    lines = file.read_text(errors="replace").splitlines()
    return [re.sub(r"\.tmp\w+|\d+", "#", line.removesuffix(" (deleted)")) for line in lines]


def note_operations(file: Path) -> None:
    """From now on this process notes every operation there."""
    shim.fault_note(os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY))


def arm(folder: Path | None, where: int = -1, fault: str = "EIO") -> None:
    number, stays, dies = FAULTS[fault]
    shim.fault_arm(str(folder or "").encode(), ctypes.c_long(where), number, stays, dies)


def begin(work: Callable[[], None], said: Path) -> int:
    """Number of a forked process that does the work; what it says goes to a file."""
    child = os.fork()
    if child:
        return child
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


def in_child(work: Callable[[], None], said: Path) -> int:
    """Exit code of a forked process that does the work."""
    said.write_text("")
    return os.waitstatus_to_exitcode(os.waitpid(begin(work, said), 0)[1])


def execute(folder: Path, stage: str) -> None:
    with open_run(folder, validate_settings(RECIPE, "drill")) as run:
        run_stages(run, only=stage)


def put(source: Path, target: Path) -> Path:
    """A copy of a folder in the place of another one."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def state_of(folder: Path) -> dict[str, str]:
    """Every file a user would keep, with its hash."""
    idle = ("manifest.json", "report.html")  # times of day
    files = (path for path in folder.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {
        path.relative_to(folder).as_posix(): hash_path(path)
        for path in files
        if not path.name.startswith(".") and path.name not in idle
    }


PASSING = re.compile(rf"{re.escape(PARTIAL)}\d+|\.tmp\w{{6}}$")
"""In a name: the number of a process, or what safetensors draws."""


def look_of(folder: Path) -> str:
    """Hash of all that a process finds in a folder; times of day and process numbers do not count."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = re.sub(rf"{re.escape(PARTIAL)}\d+|\.tmp\w{{6}}$", PARTIAL, path.relative_to(folder).as_posix())
        digest.update(f"{name}\0{path.is_dir()}\0{path.stat().st_mode}\0".encode())
        if path.is_dir() or path.name == HOLDER:
            continue
        content = path.read_bytes()
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            content = _timeless(content, folder) if MANIFEST in path.name else content
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _timeless(manifest: bytes, folder: Path) -> bytes:
    """A manifest that says of its stamps whether they hold, and no times."""
    content = json.loads(manifest)
    content["created"] = bool(content["created"])
    for state in content["stages"].values():
        state["seconds"] = 0
        state["stamps"] = {
            name: (folder / name).exists() and stamp == stamp_path(folder / name)
            for name, stamp in state["stamps"].items()
        }
    return json.dumps(content).encode()


def calm(base: Path, said: Path) -> dict[str, Calm]:
    """Every stage without a fault, in processes that have loaded nothing; what they load is loaded here afterwards."""
    found, loaded, listed = {}, base / "loaded.json", base / "operations"
    work = base / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for stage in plan(validate_settings(RECIPE, "drill")):
        before = put(work, base / "before" / stage.name)

        def counting(name: str = stage.name) -> None:
            note_operations(listed)
            arm(work)
            execute(work, name)
            arm(None)
            patterns = [(pattern, flags) for kind, pattern, flags in re._cache if kind is str]  # type: ignore[attr-defined]
            loaded.write_text(json.dumps({"modules": sorted(sys.modules), "patterns": patterns}))

        code = in_child(counting, said)
        assert code == DONE, said.read_text()
        said_by_child = json.loads(loaded.read_text())
        found[stage.name] = Calm(before, noted(listed), state_of(work), hidden_of(work))
        for module in said_by_child["modules"]:
            with suppress(ImportError):  # a name that stands for a part of another module
                importlib.import_module(module)
        for pattern, flags in said_by_child["patterns"]:
            re.compile(pattern, flags)
    return found


@dataclass
class Drill:
    """The faults of one stage."""

    base: Path
    name: str
    stage: Calm
    note: Callable[[dict[str, Any]], None]
    """Keeps what came of a fault: `operation`, `fault`, `wrong`, and the folder it `left`, still to be resumed from;
    or that a walk was `irregular`: other operations than in a process that had loaded nothing."""
    seen: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.work, self.said, self.left = self.base / "work", self.base / "said", self.base / "left" / self.name
        self.long: list[tuple[int, str, dict[str, Any] | None]] = []
        """Faults that need a process of their own, or have had a short cut that is checked (what it came to)."""

    def run(self, wanted: dict[int, list[str]]) -> None:
        """Tries the wanted faults: operation -> kinds."""
        put(self.stage.before, self.work)
        walk = Walk(
            lambda prepare: begin(lambda: self._walked(prepare), self.said), shim, self.work, self.base / "aside"
        )
        for where in walk.stops():
            if where in wanted:
                self._stop(walk, where, wanted[where])
        assert walk.finish() == DONE, self.said.read_text()
        before, walked = Counter(self.stage.operations), Counter(noted(self.base / "operations"))
        if before != walked:  # the order in which a folder lists its files is the system's
            self.note({"stage": self.name, "irregular": {"less": before - walked, "more": walked - before}})
        assert state_of(self.work) == self.stage.after, f"{self.name}: other bytes after the walk"
        for where, fault, before in self.long:
            found = self._alone(where, fault)
            if before is None:
                self.note(found)
            elif any(found[what] != before[what] for what in ("wrong", "left")):
                self.note({**found, "wrong": f"alone {found}, on the walk {before}"})

    def _walked(self, prepare: Callable[[], None]) -> None:
        note_operations(self.base / "operations")
        arm(self.work)
        prepare()
        execute(self.work, self.name)

    def _stop(self, walk: Walk, where: int, faults: list[str]) -> None:
        whole = walk.can_fork()
        walk.keep()
        for fault in faults:
            number, stays, dies = FAULTS[fault]
            if dies:
                code: int | None = DIED
            else:
                self.said.write_text("")
                code = walk.fail(number, stays) if whole else None
            if code is None:
                self.seen["alone"] += 1
                self.long.append((where, fault, None))
            else:
                found = self._found(where, fault, code)
                self.seen[fault] += 1
                if found["wrong"]:  # it may be wrong for being a copy
                    self.long.append((where, fault, None))
                else:
                    self.note(found)
                if not found["wrong"] and self.seen[fault] % CONTROL == 0:
                    self.long.append((where, fault, found))
            if not dies:
                walk.put_back()

    def _alone(self, where: int, fault: str) -> dict[str, Any]:
        """A fault in a process of its own, from the beginning of the stage."""
        put(self.stage.before, self.work)

        def faulty() -> None:
            arm(self.work, where, fault)
            execute(self.work, self.name)

        return self._found(where, fault, in_child(faulty, self.said))

    def _found(self, where: int, fault: str, code: int) -> dict[str, Any]:
        line, wrong = self.said.read_text() if code != DIED else "", ""
        if code not in (DONE, ONE_LINE, DIED):
            wrong = f"exit {code}: {line[-1500:]}"
        elif code == ONE_LINE and (len(line) > 500 or "\n" in line):
            wrong = f"not one short line: {line[:600]}"
        left = self._keep(self.work).name
        return {
            "stage": self.name,
            "operation": where,
            "fault": fault,
            "said": line[:200],
            "wrong": wrong,
            "left": left,
        }

    def _keep(self, folder: Path) -> Path:
        """A copy of a folder under the name of its look; of equal ones a single copy."""
        kept = self.left / look_of(folder)
        if not kept.exists():
            put(folder, kept.with_suffix(".part")).rename(kept)
        return kept


def again(base: Path, name: str, stage: Calm, left: Path, opened: dict[str, str]) -> str:
    """What goes wrong when the stage is executed in a folder that a fault left; empty where nothing does.

    `opened` is what came of the folders that opening the run led to.
    """
    work, said = put(left, base / "work"), base / "said"
    number = len(opened)

    def resumed() -> None:
        with open_run(work, validate_settings(RECIPE, "drill")) as run:
            look = look_of(work)
            (base / "opened").write_text(look)
            if look not in opened or number % CONTROL == 0:
                run_stages(run, only=name)
                (base / "opened").write_text(look + " executed")

    (base / "opened").write_text("")
    code = in_child(resumed, said)
    look, _, executed = (base / "opened").read_text().partition(" ")
    if code == DONE and not executed:
        return opened[look]
    wrong = _ended(code, work, stage, said)
    if opened.setdefault(look, wrong) != wrong:
        return f"executed in the same folder it ends otherwise than before ({opened[look]!r}): {wrong}"
    return wrong


def _ended(code: int, work: Path, stage: Calm, said: Path) -> str:
    if code != DONE:
        return f"cannot be resumed ({code}): {said.read_text()[-1500:]}"
    after = state_of(work)
    differing = sorted(n for n in {*after, *stage.after} if after.get(n) != stage.after.get(n))
    if differing:
        return f"other bytes after the resume: {', '.join(differing)}"
    left = sorted(hidden_of(work) - stage.hidden)
    return f"left behind after the resume: {', '.join(left)}" if left else ""


def earlier(log: Path, operations: dict[str, int]) -> list[dict[str, Any]]:
    """What a drill in the same folder tried before; it must have been the same run."""
    if not log.exists():
        log.write_text(json.dumps(operations) + "\n")
        return []
    first, *tried = (json.loads(line) for line in log.read_text().splitlines() if line.endswith("}"))
    assert first == operations, f"{log} is of another run: {first}, now {operations}"
    return tried


def main(base: Path, wanted: str, seed: int) -> None:
    log = base / "tried.jsonl"
    stages = calm(base, base / "said")
    gc.collect()
    gc.freeze()  # what the forked processes share is not copied for being looked at
    operations = {name: len(stage.operations) for name, stage in stages.items()}
    cases = [(n, w, f) for n, count in operations.items() for w in range(count) for f in FAULTS]
    every = len(cases)
    cases = random.Random(seed).sample(cases, every if wanted == "all" else int(wanted))
    tried, seen = earlier(log, operations), Counter[str]()
    irregular = [row for row in tried if "irregular" in row]
    ends = {(row["stage"], row["left"]): row["wrong"] for row in tried if not {"fault", "irregular"} & row.keys()}
    tried = [row for row in tried if "fault" in row]
    known = {(row["stage"], row["operation"], row["fault"]) for row in tried}

    def note(row: dict[str, Any]) -> None:
        if "irregular" in row:
            irregular.append(row)
        if "fault" in row:
            tried.append(row)
        with log.open("a") as lines:
            lines.write(json.dumps(row) + "\n")

    opened: dict[str, dict[str, str]] = {name: {} for name in stages}
    turns = TURNS if wanted == "all" else 1
    for turn, name in itertools.product(range(turns), stages):
        stage, ahead = stages[name], dict[int, list[str]]()
        for of, where, fault in cases:
            if of == name and where % turns == turn and (of, where, fault) not in known:
                ahead.setdefault(where, []).append(fault)
        if ahead:
            drill = Drill(base, name, stage, note)
            drill.run(ahead)
            seen += drill.seen
        for left in dict.fromkeys(row["left"] for row in tried if row["stage"] == name):
            if (name, left) not in ends:
                ends[name, left] = again(base, name, stage, base / "left" / name / left, opened[name])
                note({"stage": name, "left": left, "wrong": ends[name, left]})
        print(f"turn {turn}, {name}: {len(tried)} of {len(cases)} faults", file=sys.stderr, flush=True)
    for row in tried:
        row["wrong"] = row["wrong"] or ends[row["stage"], row["left"]]
    print(json.dumps({
        "operations": operations, "every": every, "tried": Counter(row["fault"] for row in tried),
        "alone": seen["alone"], "folders": len(ends), "irregular": irregular,
        "failures": [row for row in tried if row["wrong"]],
    }))  # fmt: skip


if __name__ == "__main__":
    # What every stage needs is loaded once; the processes that are forked from here share it.
    import mmedpo.stages  # noqa: F401

    re._MAXCACHE = 100_000  # type: ignore[attr-defined]  # the patterns of all stages together
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
