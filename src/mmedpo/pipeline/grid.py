"""A study: every arm of a table over its seeds, run as processes that share stages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from mmedpo.config import stored_settings
from mmedpo.errors import ConfigError, MMedPOError, RunFolderError, brief, shown
from mmedpo.pipeline.study_table import write_study
from mmedpo.pipeline.table_check import check_study
from mmedpo.pipeline.tables import Job, Study, Table
from mmedpo.progress import Reporter, duration
from mmedpo.records.looks import SCORE, LogEntry, kept_look, watch_log
from mmedpo.run.layout import LOG, RESOLVED
from mmedpo.run.slots import in_round
from mmedpo.storage.json_file import read_json

AT_A_TIME = 2
"""Runs, where nothing is said."""


def run_table(study: Study, runs: Path, out: Path, jobs: int, reporter: Reporter, gpus: Sequence[str] = ()) -> Path:
    """Runs every arm over its seeds and writes the table; goes on where it stopped.

    The learning rate of each arm is the one whose kept adapter scores best on validation with the selection seed; a
    rate at which training collapses is out. Every arm has the same grid and the same budget.

    Args:
        study: what is compared.
        runs: folder that holds the run folders.
        out: folder for `NAME.md` and `NAME.json`.
        jobs: runs at a time; each gets its share of the cores.
        reporter: progress.
        gpus: what each run at a time sees alone (`CUDA_VISIBLE_DEVICES`), as many as `jobs`; empty: all see the same.

    Returns:
        The written page.
    """
    alike = check_study(study)
    plan, folder = study.plan, runs / study.folder
    reporter.message(f"{plan.size()}, {jobs} at a time; finished ones are not run again")
    runner = _Runner(folder, study, jobs, reporter, gpus)
    first = next(iter(plan.arms.items()))
    shared = [plan.job(*first, seed, plan.learning_rates[0]) for seed in plan.seeds]
    runner.all(shared, until="score")
    arms = plan.arms.items()
    grid = [plan.job(arm, recipe, plan.selection_seed, rate) for arm, recipe in arms for rate in plan.learning_rates]
    collapsed = runner.all(grid, until="train")
    chosen = {arm: choose_rate(folder, arm, recipe, plan, collapsed) for arm, recipe in plan.arms.items()}
    for arm, (rate, scores) in chosen.items():
        reporter.message(f"{arm}: learning rate {rate:g} ({', '.join(f'{r:g}: {s}' for r, s in scores.items())})")
    final = [plan.job(arm, recipe, seed, chosen[arm][0]) for seed in plan.seeds for arm, recipe in arms]
    # The base's answers are the same for all arms of a seed: made once, then taken over.
    lost = runner.all([job for job in final if job.arm == first[0]], until="evaluate")
    lost |= runner.all([job for job in final if job.arm != first[0]], until="evaluate")
    unstable = {job.arm for job in lost}
    folders = {arm: [folder / job.name for job in final if job.arm == arm] for arm in plan.arms if arm not in unstable}
    if first[0] in unstable:
        raise MMedPOError(
            f"{first[0]} collapsed at its chosen learning rate on some seed; add smaller rates to the grid"
        )
    gone = "training collapsed with seed {}; the arm is not in the tables"
    notes = [f"{job.arm}: {gone.format(job.seed)}" for job in sorted(lost, key=lambda job: job.name)]
    panels = _panels(runner, first, plan)
    notes = [*plan.caveats, *alike, *notes]
    reporter.message("writing the page: intervals of every arm")
    write_study(study.name, plan, study.command, folders, chosen, notes, out, panels)
    return out / f"{study.name}.md"


def at_a_time(jobs: int | None, gpus: str) -> tuple[int, list[str]]:
    """How many runs at a time, and the GPU of each.

    Raises:
        ConfigError: GPUs that are no numbers, or fewer or more of them than runs at a time.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"--jobs {jobs}: at least one run at a time")
    seen = gpus.split(",") if gpus else []
    if not all(re.fullmatch(r"[0-9]{1,4}", gpu) for gpu in seen) or len({*seen}) < len(seen):
        raise ConfigError(f"--gpus {shown(gpus)}: give numbers of different GPUs, e.g. 0,1,2,3")
    if seen and jobs not in (None, len(seen)):
        raise ConfigError(f"--jobs {jobs} with {len(seen)} GPUs: each run has one of its own; leave --jobs out")
    return (len(seen) if seen else jobs or AT_A_TIME), seen


def _panels(runner: _Runner, first: tuple[str, str], plan: Table) -> dict[str, list[Path]]:
    """Folders of every panel's runs, one per seed; what was curated is the first arm's."""
    rate = plan.learning_rates[0]
    jobs = {
        name: [Job(*first, seed, rate, overrides, f"-panel-{number}") for seed in plan.seeds]
        for number, (name, overrides) in enumerate(plan.panels.items(), start=1)
    }
    runner.all([job for of_panel in jobs.values() for job in of_panel], until="score")
    return {name: [runner.folder / job.name for job in of_panel] for name, of_panel in jobs.items()}


def choose_rate(
    folder: Path, arm: str, recipe: str, plan: Table, collapsed: set[Job]
) -> tuple[float, dict[float, str]]:
    """The rate whose kept adapter has the best validation score, and every rate's score or the word `collapsed`.

    Raises:
        ConfigError: the arm collapses at every rate of the grid.
    """
    scores: dict[float, float] = {}
    told: dict[float, str] = {}
    for rate in plan.learning_rates:
        job = plan.job(arm, recipe, plan.selection_seed, rate)
        if job in collapsed:
            told[rate] = "collapsed"
            continue
        settings = stored_settings(folder / job.name / RESOLVED)
        log = folder / job.name / in_round(settings, LOG)
        look = kept_look(watch_log(read_json(log, list[LogEntry])), settings.train.watch.keep)
        if look is None:
            raise RunFolderError(f"{log} holds no look after the start; delete the run and start it again")
        scores[rate] = float(look[SCORE])
        told[rate] = f"{scores[rate]:.4f}"
    if not scores:
        raise ConfigError(f"{arm} collapses at every learning rate of the grid; add smaller ones")
    return max(scores, key=lambda rate: scores[rate]), told


class _Runner:
    """Runs jobs as processes of their own, a few at a time, sharing finished stages."""

    def __init__(self, folder: Path, study: Study, jobs: int, reporter: Reporter, gpus: Sequence[str]) -> None:
        self.folder = folder
        self.study = study
        self.jobs = jobs
        self.reporter = reporter
        self.gpus: SimpleQueue[str] = SimpleQueue()
        for gpu in gpus or [""] * jobs:
            self.gpus.put(gpu)

    def all(self, jobs: Sequence[Job], until: str | None) -> set[Job]:
        """Runs all jobs and returns those whose training collapsed; any other failure stops everything."""
        wanted = list(dict.fromkeys(jobs))
        collapsed, started = set(), time.monotonic()
        with ThreadPoolExecutor(self.jobs) as pool:
            for number, (job, outcome) in enumerate(
                zip(wanted, pool.map(lambda job: self._one(job, until), wanted), strict=True), start=1
            ):
                left = (time.monotonic() - started) / number * (len(wanted) - number)
                told = f", about {duration(left)} left of these" if left else ""
                self.reporter.message(f"[{number}/{len(wanted)}] {job.name}: {outcome}{told}")
                if outcome == "collapsed":
                    collapsed.add(job)
        return collapsed

    def _one(self, job: Job, until: str | None) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mmedpo", "run", job.recipe, "--name", job.name, "--runs", str(self.folder)]
        command += ["--donors", str(self.folder)]
        if until is not None:
            command += ["--until", until]
        for override in self.study.settings_of(job):
            command += ["--set", override]
        log = self.folder / f"{job.name}.log"
        if log.is_symlink() or (log.exists() and log.stat().st_nlink > 1):
            raise MMedPOError(f"{log} is a link to another file; remove it")
        before = log.stat().st_size if log.exists() else 0
        gpu = self.gpus.get()
        own = {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // self.jobs, 1))}
        if gpu:
            own["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            with log.open("a") as handle:
                code = subprocess.run(
                    command, stdout=handle, stderr=handle, env={**os.environ, **own}, check=False
                ).returncode
        finally:
            self.gpus.put(gpu)
        if code == 0:
            return "done"
        # Of this attempt alone: what an earlier one ended with says nothing of one that was killed.
        told = log.read_bytes()[before:].decode(errors="replace")
        last = (told.strip().splitlines() or ["no output"])[-1]
        if code > 0 and "training stopped" in last:
            return "collapsed"
        last = brief(last, 600)
        raise MMedPOError(f"{job.name} failed with exit code {code}: {last.removeprefix('error: ')} (log: {log})")
