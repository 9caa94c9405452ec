"""How far a run is, as its folder tells it: stages that are done, and jobs that were submitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mmedpo.errors import MMedPOError, brief
from mmedpo.pipeline.plan import plan
from mmedpo.pipeline.submitting import SHARE, STATE, SUBMITTED
from mmedpo.progress import duration
from mmedpo.run import Run
from mmedpo.run.layout import JOBS, WORK

_LONGEST, _MOST_JOBS = 1 << 20, 500
"""Bytes of a list of jobs that are read, and its last lines that count; no list of ours is as long."""


def stage_lines(run: Run) -> Iterator[str]:
    """One line for every stage, with what became of its jobs where some were submitted.

    A run that cannot go on here, because a model or a package is not, can be looked at all the same.
    """
    jobs = _jobs(run.path / JOBS)
    try:
        stages = plan(run.settings)
    except MMedPOError as error:
        yield f"this run cannot go on here: {brief(str(error), 300)}"
        for name, done in run.manifest.stages.items():
            yield f"{brief(name, 60):14} was done in {duration(done.seconds)}; settings and inputs are not checked"
        return
    for stage in stages:
        state = run.manifest.stages.get(stage.name)
        if run.is_done(stage) and state is not None:
            told = f"done in {duration(state.seconds)}"
        elif state is not None:
            told = "out of date: settings or inputs changed"
        elif (run.path / WORK / stage.name).exists():
            told = "started, not finished"
        else:
            told = "not started"
        yield "; ".join([f"{stage.name:14} {told}", *jobs.get(stage.name.replace("/", "."), ())])


def _jobs(folder: Path) -> dict[str, list[str]]:
    """What became of the jobs of every stage, by its name in file names."""
    found: dict[str, list[str]] = {}
    for line in _text(folder / SUBMITTED).splitlines()[-_MOST_JOBS:]:
        name, _, rest = line.partition(" ")
        number, _, shares = rest.partition(" ")
        if not name.isprintable() or "/" in name or not shares.isdecimal() or len(shares) > 4:
            continue
        job, stage = f"job {brief(number, 20)}", name.removesuffix(SHARE)
        if int(shares):
            states = Counter(_became(folder / f"{name}.{k}{STATE}").split(" on ")[0] for k in range(int(shares)))
            told = f"{job}, {shares} shares: " + ", ".join(f"{count} {state}" for state, count in states.items())
        else:
            told = f"{job} {_became(folder / f'{name}{STATE}')}"
        found.setdefault(stage, []).append(told)
    return found


def _became(path: Path) -> str:
    state, _, host = _text(path).strip().partition(" ")
    return f"{brief(state, 20)} on {brief(host, 60)}" if state else "waits"


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace")
    except OSError:
        return ""
