"""What a table compares: arms laid over a dataset, their learning rates and seeds, the runs these take."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from mmedpo.config import Settings, explain, idle_endpoints
from mmedpo.config.groups import Seed
from mmedpo.errors import ConfigError, brief, shown
from mmedpo.pipeline.overrides import given_endpoints, named_endpoints, refuse_own, without_endpoints
from mmedpo.recipes import ITSELF, composed_of, read_recipe, shipped_recipes
from mmedpo.recipes.reading import read_yaml
from mmedpo.records.evaluation import METRICS
from mmedpo.registry import names
from mmedpo.run import BASE

MEAN = "mean"
"""Of the metrics of a dataset: what the paper's Tables 2 to 4 give."""
LONGEST_NAME = 80
"""Characters of an arm's name."""


class Table(Settings):
    """What a table compares (`recipes/tables/*.yaml`)."""

    description: str = Field(min_length=1)
    """One line."""
    seeds: tuple[Seed, ...] = Field(min_length=1)
    """Run seeds; every arm runs every one of them."""
    selection_seed: Seed
    """Seed whose validation probe chooses each arm's learning rate."""
    learning_rates: tuple[Annotated[float, Field(gt=0, le=10)], ...] = Field(min_length=1)
    """The grid, the same for every arm."""
    arms: dict[str, str] = Field(min_length=1)
    """Name in the table -> method, laid over the recipe of a dataset; or a whole recipe."""
    asking: dict[str, str] = Field(default_factory=dict)
    """The same for arms that ask a language model of the user's: run where their `chat.endpoints` are given."""
    settings: tuple[str, ...] = ()
    """Overrides for every arm."""
    panels: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Name -> overrides of the first arm's recipe that change its debates: these runs end with their scores, which are
    held against the true severity where the dataset knows it."""
    leaders: tuple[str, ...] = ()
    """Arms that are held against all the others; none named: the first."""
    own: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Further overrides of single arms, by their names in the table."""
    paper: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    """Dataset -> arm, or `base` -> metric, or their `mean` -> what the paper reports, percent; shown beside ours where
    dataset and model are the paper's."""
    caveats: tuple[str, ...] = ()
    """What a reader must know of the table."""

    @model_validator(mode="after")
    def _each_says_one_thing(self) -> Self:
        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(
                f"seeds={shown(list(self.seeds))}: a seed stands twice, and would count as two; name it once"
            )
        if len({f"{rate:g}" for rate in self.learning_rates}) < len(self.learning_rates):
            raise ValueError(f"learning_rates={shown(list(self.learning_rates))}: two of them are alike in six digits")
        for name in (*self.arms, *self.asking, *self.panels):
            if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or "|" in name or name.strip() != name:
                raise ValueError(
                    f"{shown(name)} is no name of a row; allowed: 1 to {LONGEST_NAME} printable characters without |, "
                    "and no blank at either end"
                )
        if BASE in {*self.arms, *self.asking}:
            raise ValueError(f"an arm is called {BASE!r}, as the row of the model before training is; rename it")
        if twice := {*self.arms} & {*self.asking}:
            raise ValueError(f"{shown(min(twice))} stands among arms and among asking; name it once")
        return self

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        refuse_own(self.settings, "settings")
        for kind, of_kind in (("own", self.own), ("panels", self.panels)):
            for name, overrides in of_kind.items():
                refuse_own(overrides, f"{kind}, {name}")
        if silent := [arm for arm, overrides in self.own.items() if not overrides]:
            raise ValueError(f"own says nothing of {shown(min(silent))}; give it settings, or take it out")
        arms = {*self.arms, *self.asking}
        of_paper = {arm for numbers in self.paper.values() for arm in numbers} - {BASE}
        for name, spoken in (("own", {*self.own}), ("leaders", {*self.leaders}), ("paper", of_paper)):
            if idle := spoken - arms:
                raise ValueError(f"{name} speaks of {shown(min(idle))}, which is no arm; arms: {', '.join(self.arms)}")
        if unknown := {*self.paper} - {*names("dataset")}:
            known = ", ".join(names("dataset"))
            raise ValueError(f"paper speaks of {shown(min(unknown))}, which is no dataset; datasets: {known}")
        told = {metric for numbers in self.paper.values() for row in numbers.values() for metric in row}
        if unknown := told - {*METRICS, MEAN}:
            known = ", ".join((*METRICS, MEAN))
            raise ValueError(f"paper speaks of {shown(min(unknown))}, which is no metric; metrics: {known}")
        return self

    def over(self, dataset: str, overrides: Sequence[str]) -> Table:
        """The table with the recipes of one dataset for its arms; asking ones stay where endpoints are given."""
        given = given_endpoints((*self.settings, *overrides))
        recipes = {name: recipe_of(dataset, method) for name, method in {**self.arms, **self.asking}.items()}
        wanted = {name: sorted(named_endpoints(read_recipe(recipes[name])) - given) for name in self.asking}
        left_out = tuple(
            f"{name}: not run, it asks a language model; give it with --set chat.endpoints.{missing[0]}..."
            for name, missing in wanted.items()
            if missing
        )
        run = {name: recipe for name, recipe in recipes.items() if not wanted.get(name)}
        return self.model_copy(update={"arms": run, "asking": {}, "caveats": (*self.caveats, *left_out)})

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
        return len(arms) * self.runs_of_an_arm() + len(self.panels) * len(self.seeds)

    def size(self) -> str:
        """In words."""
        counts = f"{len(self.arms)} arms, {len(self.seeds)} seeds, {len(self.learning_rates)} learning rates"
        return f"{counts}: {self.runs()} runs"

    def runs_of_an_arm(self) -> int:
        """Every rate on the selection seed, and the chosen one on the other seeds."""
        return len(self.learning_rates) + len(self.seeds) - (self.selection_seed in self.seeds)

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
        recipe = Path(self.recipe).stem if _is_file(self.recipe) else self.recipe
        return f"{recipe}-seed{self.seed}-lr{self.rate:g}{self.part}"


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

    def settings_of(self, job: Job) -> tuple[str, ...]:
        """Every override of a run, in order, but for language models that are given to other arms."""
        given = _fitting(job.recipe, (*self.plan.settings, *job.overrides, *self.overrides))
        return (*given, f"seed={job.seed}", f"train.learning_rate={job.rate!r}")


@cache
def _fitting(recipe: str, overrides: tuple[str, ...]) -> tuple[str, ...]:
    """Overrides of all arms, without the language models that none of this recipe's judges and agents is."""
    if not given_endpoints(overrides):
        return overrides
    return without_endpoints(overrides, {*idle_endpoints(recipe, overrides)})


def study(table: str, dataset: str, quick: bool, overrides: Sequence[str]) -> Study:
    """A shipped table or one of the user's, over a dataset.

    Raises:
        ConfigError: as `load_table` and `recipe_of`, or an override of what the table sets itself.
    """
    refuse_own(overrides, "--set")
    plan, name = load_table(table).over(dataset, overrides), Path(table).stem
    command = f"mmedpo reproduce {table}"
    if dataset not in ("phantom", name):
        name, command = f"{name}-{dataset}", f"{command} --dataset {dataset}"
    given = "".join(f" --set {shlex.quote(override)}" for override in overrides)
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
    elif _is_file(table) and Path(table).is_file():
        text = _read(table)
    else:
        raise ConfigError(f"unknown table {shown(table)}; shipped: {', '.join(shipped)}; or an existing .yaml file")
    where = f"table {brief(table)}"
    raw = read_yaml(text, where)
    needed = [name for name, field in Table.model_fields.items() if field.is_required()]
    if not isinstance(raw, dict) or any(name not in raw for name in needed):
        raise ConfigError(f"{where} must be a mapping with {', '.join(needed)}; found {shown(raw)}")
    try:
        return Table.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, Table)}") from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _is_file(name: str) -> bool:
    """Whether a name is that of a YAML file."""
    return Path(name).suffix in {".yaml", ".yml"}


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"table {brief(file)} cannot be read: {error.strerror}") from None


def recipe_of(dataset: str, method: str) -> str:
    """The recipe of a method on a dataset: `phantom`, `dpo` -> `phantom-dpo`; a whole recipe stays what it is.

    Raises:
        ConfigError: no such recipe.
    """
    shipped = shipped_recipes()
    if method in shipped or _is_file(method):
        return method
    for name in (f"{dataset}-{method}", dataset if method == ITSELF else ""):
        if name in shipped or (name and composed_of(name)):
            return name
    raise ConfigError(f"no recipe of {shown(method)} on {shown(dataset)}; `mmedpo recipes` lists datasets and methods")
