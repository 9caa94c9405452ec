"""A study: several arms, one learning-rate grid, one budget, several seeds, run as processes that share stages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mmedpo.config import stored_settings
from mmedpo.errors import ConfigError, MMedPOError, RunFolderError, brief, shown
from mmedpo.pipeline.study_table import write_study
from mmedpo.progress import Reporter
from mmedpo.recipes import ITSELF, composed_of, shipped_recipes
from mmedpo.recipes.reading import read_yaml
from mmedpo.records.looks import SCORE, LogEntry, best_look, watch_log
from mmedpo.run import BASE
from mmedpo.run.layout import LOG, RESOLVED
from mmedpo.run.slots import in_round
from mmedpo.storage.json_file import read_json


class Table(BaseModel):
    """What a table compares (`recipes/tables/*.yaml`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    """One line."""
    seeds: tuple[int, ...] = Field(min_length=1)
    """Run seeds; every arm runs every one of them."""
    selection_seed: int
    """Seed whose validation probe chooses each arm's learning rate."""
    learning_rates: tuple[float, ...] = Field(min_length=1)
    """The grid, the same for every arm."""
    arms: dict[str, str]
    """Name in the table -> method, laid over the recipe of a dataset; or a whole recipe."""
    asking: dict[str, str] = {}
    """The same for arms that ask a language model of the user's: run where `chat.endpoints` are given."""
    settings: tuple[str, ...] = ()
    """Overrides for every arm."""
    panels: dict[str, tuple[str, ...]] = {}
    """Name -> overrides of the first arm's recipe that change its debates: these runs end with their scores, which are
    held against the true severity where the dataset knows it."""
    own: dict[str, tuple[str, ...]] = {}
    """Further overrides of single arms, by their names in the table."""
    paper: dict[str, dict[str, dict[str, float]]] = {}
    """Dataset -> arm, or `base` -> metric, or their `mean` -> what the paper reports, percent; shown beside ours where
    dataset and model are the paper's."""
    caveats: tuple[str, ...] = ()
    """What a reader must know of the table."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        arms = {*self.arms, *self.asking}
        of_paper = {arm for numbers in self.paper.values() for arm in numbers} - {BASE}
        for name, spoken in (("own", {*self.own}), ("paper", of_paper)):
            if idle := spoken - arms:
                raise ValueError(f"{name} speaks of {shown(min(idle))}, which is no arm; arms: {', '.join(self.arms)}")
        return self

    def over(self, dataset: str, overrides: Sequence[str]) -> Table:
        """The table with the recipes of one dataset for its arms; asking ones stay where endpoints are given."""
        asks = any(override.startswith(("chat.endpoints", "chat=")) for override in overrides)
        arms = {**self.arms, **(self.asking if asks else {})}
        left_out = () if asks or not self.asking else (
            f"{', '.join(self.asking)}: not run, they ask a language model; give one with --set chat.endpoints...",
        )  # fmt: skip
        recipes = {name: recipe_of(dataset, method) for name, method in arms.items()}
        return self.model_copy(update={"arms": recipes, "asking": {}, "caveats": (*self.caveats, *left_out)})

    def quick(self) -> Table:
        """One seed, the middle rate, small splits: whether it runs and about where it leads, no result."""
        rate = self.learning_rates[len(self.learning_rates) // 2]
        told = "Quick look: one seed, one learning rate, a small part of the data; no result."
        changes = {"seeds": self.seeds[:1], "selection_seed": self.seeds[0], "learning_rates": (rate,)}
        return self.model_copy(
            update={**changes, "settings": (*self.settings, *QUICK), "caveats": (told, *self.caveats)}
        )

    def runs(self) -> int:
        """How many runs the table takes."""
        arms = {(recipe, self.own.get(arm, ())) for arm, recipe in self.arms.items()}
        of_arm = len(self.learning_rates) + len(self.seeds) - (self.selection_seed in self.seeds)
        return len(arms) * of_arm + len(self.panels) * len(self.seeds)

    def job(self, arm: str, recipe: str, seed: int, rate: float) -> Job:
        """A run of an arm, with what is set for that arm alone."""
        own = self.own.get(arm, ())
        return Job(arm, recipe, seed, rate, own, f"-own-{list(self.arms).index(arm) + 1}" if own else "")


QUICK = ("data.max_train_examples=240", "evaluate.bootstrap_samples=2000", "train.epochs=1")
"""Settings of a quick look; generated data are made smaller as well (`QUICK_PHANTOM`)."""
SHARED = "tables"
"""Folder of the runs of tables that set nothing of their own; a run's name says dataset, method, seed and rate."""
QUICK_PHANTOM = (
    "data.phantom.train_images=40",
    "data.phantom.validation_images=15",
    "data.phantom.test_images=40",
    "train.watch.questions=60",
)


@dataclass(frozen=True)
class Job:
    """One run of one arm."""

    arm: str
    recipe: str
    seed: int
    rate: float
    overrides: tuple[str, ...] = ()
    """Further settings of this run."""
    part: str = ""
    """Behind the name of its folder, where other runs have the same recipe, seed and rate."""

    @property
    def name(self) -> str:
        """Name of its run folder."""
        return f"{self.recipe}-seed{self.seed}-lr{self.rate:g}{self.part}"


@dataclass(frozen=True)
class Study:
    """A table over a dataset."""

    name: str
    """Of what is written."""
    plan: Table
    """What it compares; its arms are recipes."""
    overrides: tuple[str, ...]
    """Settings of every arm."""
    command: str
    """What makes it again."""
    folder: str
    """Of its runs. Tables that set nothing of their own share one, and so the runs they have in common."""


def run_table(study: Study, runs: Path, out: Path, jobs: int, reporter: Reporter) -> Path:
    """Runs every arm over its seeds and writes the table; goes on where it stopped.

    The learning rate of each arm is the one with the best validation probe on the selection seed; a
    rate at which training collapses is out. Every arm has the same grid and the same budget.

    Args:
        study: what is compared.
        runs: folder that holds the run folders.
        out: folder for `NAME.md` and `NAME.json`.
        jobs: runs at a time; each gets its share of the cores.
        reporter: progress.

    Returns:
        The written page.
    """
    plan, folder = study.plan, runs / study.folder
    reporter.message(
        f"{len(plan.arms)} arms, {len(plan.seeds)} seeds, {len(plan.learning_rates)} learning rates: "
        f"{plan.runs()} runs, {jobs} at a time; finished ones are not run again"
    )
    runner = _Runner(folder, study, jobs, reporter)
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
    notes = [*plan.caveats, *notes]
    write_study(study.name, plan.description, study.command, folders, chosen, notes, out, panels, plan.paper)
    return out / f"{study.name}.md"


def _panels(runner: _Runner, first: tuple[str, str], plan: Table) -> dict[str, list[Path]]:
    """Folders of every panel's runs, one per seed; what was curated is the first arm's."""
    rate = plan.learning_rates[0]
    jobs = {
        name: [Job(*first, seed, rate, overrides, f"-panel-{number}") for seed in plan.seeds]
        for number, (name, overrides) in enumerate(plan.panels.items(), start=1)
    }
    runner.all([job for of_panel in jobs.values() for job in of_panel], until="score")
    return {name: [runner.folder / job.name for job in of_panel] for name, of_panel in jobs.items()}


def study(table: str, dataset: str, quick: bool, overrides: Sequence[str]) -> Study:
    """A shipped table or one of the user's, over a dataset.

    Raises:
        ConfigError: as `load_table` and `recipe_of`.
    """
    plan, name = load_table(table).over(dataset, overrides), Path(table).stem
    command = f"mmedpo reproduce {table}"
    if dataset not in ("phantom", name):
        name, command = f"{name}-{dataset}", f"{command} --dataset {dataset}"
    given = "".join(f" --set {override}" for override in overrides)
    folder = name if plan.settings or plan.own or plan.panels or overrides else SHARED
    if not quick:
        return Study(name, plan, tuple(overrides), command + given, folder)
    small = QUICK_PHANTOM if dataset == "phantom" else ()
    return Study(f"{name}-quick", plan.quick(), (*small, *overrides), f"{command} --quick{given}", f"{folder}-quick")


def load_table(table: str) -> Table:
    """Reads a shipped table or a YAML file.

    Raises:
        ConfigError: unknown table, or one that is not of the form of `Table`.
    """
    folder = resources.files("mmedpo.recipes") / "tables"
    shipped = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if table in shipped:
        text = (folder / f"{table}.yaml").read_text()
    elif Path(table).suffix in {".yaml", ".yml"} and Path(table).exists():
        text = Path(table).read_text(encoding="utf-8", errors="replace")
    else:
        raise ConfigError(f"unknown table {shown(table)}; shipped: {', '.join(shipped)}; or an existing .yaml file")
    try:
        return Table.model_validate(read_yaml(text, f"table {table}"))
    except ValueError as error:
        raise ConfigError(f"table {table}: {brief(' '.join(str(error).split()))}") from None


def recipe_of(dataset: str, method: str) -> str:
    """The recipe of a method on a dataset: `phantom`, `dpo` -> `phantom-dpo`; a whole recipe stays what it is.

    Raises:
        ConfigError: no such recipe.
    """
    shipped = shipped_recipes()
    if method in shipped or Path(method).suffix in {".yaml", ".yml"}:
        return method
    for name in (f"{dataset}-{method}", dataset if method == ITSELF else ""):
        if name in shipped or (name and composed_of(name)):
            return name
    raise ConfigError(f"no recipe of {method!r} on {dataset!r}; `mmedpo recipes` lists datasets and methods")


def choose_rate(
    folder: Path, arm: str, recipe: str, plan: Table, collapsed: set[Job]
) -> tuple[float, dict[float, str]]:
    """The rate with the best validation score, and every rate's score or the word `collapsed`.

    Raises:
        ConfigError: the arm collapses at every rate of the grid.
    """
    scores: dict[float, float] = {}
    shown: dict[float, str] = {}
    for rate in plan.learning_rates:
        job = plan.job(arm, recipe, plan.selection_seed, rate)
        if job in collapsed:
            shown[rate] = "collapsed"
            continue
        log = folder / job.name / in_round(stored_settings(folder / job.name / RESOLVED), LOG)
        best = best_look(watch_log(read_json(log, list[LogEntry])))
        if best is None:
            raise RunFolderError(f"{log} holds no look after the start; delete the run and start it again")
        scores[rate] = float(best[SCORE])
        shown[rate] = f"{scores[rate]:.4f}"
    if not scores:
        raise ConfigError(f"{arm} collapses at every learning rate of the grid; add smaller ones")
    return max(scores, key=lambda rate: scores[rate]), shown


class _Runner:
    """Runs jobs as processes of their own, a few at a time, sharing finished stages."""

    def __init__(self, folder: Path, study: Study, jobs: int, reporter: Reporter) -> None:
        self.folder = folder
        self.study = study
        self.jobs = jobs
        self.reporter = reporter

    def all(self, jobs: Sequence[Job], until: str | None) -> set[Job]:
        """Runs all jobs and returns those whose training collapsed; any other failure stops everything."""
        wanted = list(dict.fromkeys(jobs))
        collapsed = set()
        with ThreadPoolExecutor(self.jobs) as pool:
            for number, (job, outcome) in enumerate(
                zip(wanted, pool.map(lambda job: self._one(job, until), wanted), strict=True), start=1
            ):
                self.reporter.message(f"[{number}/{len(wanted)}] {job.name}: {outcome}")
                if outcome == "collapsed":
                    collapsed.add(job)
        return collapsed

    def _one(self, job: Job, until: str | None) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mmedpo", "run", job.recipe, "--name", job.name, "--runs", str(self.folder)]
        command += ["--donors", str(self.folder)]
        if until is not None:
            command += ["--until", until]
        given = (*self.study.plan.settings, *job.overrides, *self.study.overrides)
        for override in (*given, f"seed={job.seed}", f"train.learning_rate={job.rate!r}"):
            command += ["--set", override]
        threads = str(max((os.cpu_count() or 1) // self.jobs, 1))
        log = self.folder / f"{job.name}.log"
        if log.is_symlink() or (log.exists() and log.stat().st_nlink > 1):
            raise MMedPOError(f"{log} is a link to another file; remove it")
        with log.open("a") as handle:
            code = subprocess.run(
                command, stdout=handle, stderr=handle, env={**os.environ, "OMP_NUM_THREADS": threads}, check=False
            ).returncode
        if code == 0:
            return "done"
        last = (log.read_text().strip().splitlines() or ["no output"])[-1]
        if "training stopped" in last:
            return "collapsed"
        raise MMedPOError(f"{job.name} failed with exit code {code}: {last.removeprefix('error: ')} (log: {log})")
