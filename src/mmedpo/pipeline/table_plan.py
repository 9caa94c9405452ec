"""`mmedpo reproduce TABLE --plan`: what every arm of a table takes, before any is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mmedpo.errors import ConfigError
from mmedpo.pipeline.doctor.plan import plan_recipe
from mmedpo.pipeline.tables import Study
from mmedpo.progress import Reporter, duration

SHOWN = ("questions", "calls", "memory", "disk", "time")
"""What is told of a run of each arm."""


class ArmPlan(NamedTuple):
    """An arm."""

    runs: int
    facts: dict[str, str]
    """Of one run."""
    seconds: float


def plan_table(study: Study, jobs: int, reporter: Reporter) -> Iterator[str]:
    """Lines that tell it; one step of each arm is run for its time.

    Args:
        study: what would be compared.
        jobs: runs at a time.
        reporter: progress.

    Raises:
        ConfigError: a run of an arm could not be begun.
    """
    plan = study.plan
    yield (
        f"{len(plan.arms)} arms, {len(plan.seeds)} seeds, {len(plan.learning_rates)} learning rates: {plan.runs()} runs"
    )
    seconds = 0.0
    for arm, recipe in plan.arms.items():
        reporter.message(f"planning {arm}")
        found = _arm(study, arm, recipe, reporter)
        seconds += found.runs * found.seconds
        yield f"{arm} ({recipe}): {found.runs} runs, each"
        yield from (f"  {name:9}  {found.facts[name]}" for name in SHOWN if name in found.facts)
    if plan.panels:
        yield f"{len(plan.panels)} panels on {len(plan.seeds)} seeds, up to their scores"
    yield (
        f"all of it  at most {duration(seconds / jobs)}, {jobs} runs at a time as fast as one alone; what arms share "
        "(curation, the base's answers) is computed once, and a rate that is not chosen answers nothing"
    )


def _arm(study: Study, arm: str, recipe: str, reporter: Reporter) -> ArmPlan:
    plan = study.plan
    rate = plan.learning_rates[0]
    found = plan_recipe(recipe, study.settings_of(plan.job(arm, recipe, plan.seeds[0], rate)), reporter, measure=True)
    if found.worst == "error":
        raise ConfigError(f"{arm}: {next(one.text for one in found.findings if one.severity == 'error')}")
    return ArmPlan(plan.runs_of_an_arm(), dict(found.facts), found.seconds or 0.0)
