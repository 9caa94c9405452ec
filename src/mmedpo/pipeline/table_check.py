"""What would make a table wrong or stop it midway, found before its first run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mmedpo.config import RunSettings, load_settings
from mmedpo.config.run import DEBATING
from mmedpo.errors import ConfigError, brief
from mmedpo.pipeline.plan import check_objectives
from mmedpo.pipeline.tables import Job, Study

SHARED_GROUPS = ("data", "model", "evaluate")
"""Groups of settings that all arms have in common: they answer the same questions, compared with one base."""
IN_WORDS = frozenset({"description", "caveats"})
"""Settings that no run depends on."""


def check_study(study: Study) -> list[str]:
    """Resolves the settings of every arm and panel as their runs will, and compares them.

    Returns:
        What a reader of the table must know: two methods that are one and the same over this dataset.

    Raises:
        ConfigError: an arm that could not be begun, that answers other questions than the others, or whose own settings
            leave it the same run as another; a panel that holds no debate, or whose settings leave its scores as they
            are.
    """
    plan = study.plan
    seed, rate = plan.seeds[0], plan.learning_rates[0]
    jobs = {arm: plan.job(arm, recipe, seed, rate) for arm, recipe in plan.arms.items()}
    arms = {arm: _settings(study, job, f"arm {arm!r}") for arm, job in jobs.items()}
    first, *others = arms
    for arm in others:
        for group in SHARED_GROUPS:
            if getattr(arms[arm], group) != getattr(arms[first], group):
                raise ConfigError(
                    f"arm {arm!r} has other settings of {group} than {first!r}, and what they answer is compared "
                    f"question by question; set them for all arms (settings, or --set), or take the arm out"
                )
    notes = []
    for one, other in _twins(arms):
        if plan.arms[one] == plan.arms[other]:
            raise ConfigError(
                f"arms {one!r} and {other!r} are one and the same run; give one of them settings of its own (own), or "
                "take it out"
            )
        notes.append(f"{one} and {other}: one and the same method over these data ({plan.arms[one]}).")
    for arm, job in jobs.items():
        twin = next(other for other, its in jobs.items() if its.name == job.name)
        if twin != arm:
            raise ConfigError(
                f"arms {twin!r} and {arm!r} would share the run folder {job.name}; rename a recipe's file"
            )
    _check_panels(study, arms[first])
    return notes


def _check_panels(study: Study, first: RunSettings) -> None:
    plan = study.plan
    if not plan.panels:
        return
    arm, recipe = next(iter(plan.arms.items()))
    if not first.debates:
        raise ConfigError(
            f"panels are of the first arm, {arm!r}, which holds no debates; begin arms with one that does"
        )
    found = {}
    for name, overrides in plan.panels.items():
        job = Job(arm, recipe, plan.seeds[0], plan.learning_rates[0], overrides)
        own = found[name] = _settings(study, job, f"panel {name!r}")
        changed = {group for group in type(own).model_fields if getattr(own, group) != getattr(first, group)}
        if idle := changed - {"score", "chat", *IN_WORDS}:
            raise ConfigError(
                f"panel {name!r} changes {', '.join(sorted(idle))}; a panel ends with its scores, and is told apart by "
                f"score.{', score.'.join(sorted(DEBATING))} alone"
            )
    for one, other in _twins(found):
        raise ConfigError(f"panels {one!r} and {other!r} have the same settings; take one of them out")


def _twins(found: Mapping[str, RunSettings]) -> Iterator[tuple[str, str]]:
    """Names whose runs are the same, whatever they call themselves; a tool that marks nothing tells none apart."""
    told: dict[str, str] = {}
    for name, settings in found.items():
        idle = {*IN_WORDS} if settings.grounds else {*IN_WORDS, "ground"}
        first = told.setdefault(settings.model_dump_json(exclude=idle), name)
        if first != name:
            yield first, name


def _settings(study: Study, job: Job, where: str) -> RunSettings:
    try:
        settings = load_settings(job.recipe, list(study.settings_of(job)))
        check_objectives(settings)
        return settings
    except ConfigError as error:
        raise ConfigError(f"{where}: {brief(str(error), 600)}") from None
