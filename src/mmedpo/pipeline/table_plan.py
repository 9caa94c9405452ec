"""`mmedpo reproduce TABLE --plan`: what every arm of a table takes, before any is run."""

from __future__ import annotations

from collections.abc import Iterator

from mmedpo.errors import ConfigError
from mmedpo.pipeline.doctor.diagnosis import Diagnosis
from mmedpo.pipeline.doctor.plan import plan_recipe
from mmedpo.pipeline.table_check import check_study
from mmedpo.pipeline.tables import Study
from mmedpo.progress import Reporter, duration

SHOWN = ("questions", "fine-tuning", "calls", "memory", "disk", "time")
"""What is told of a run of each arm."""


def plan_table(study: Study, jobs: int, reporter: Reporter) -> Iterator[str]:
    """Lines that tell it; one step of each arm is run for its time.

    Args:
        study: what would be compared.
        jobs: runs at a time.
        reporter: progress.

    Raises:
        ConfigError: a run of an arm could not be begun.
    """
    alike = check_study(study)
    plan, runs, seconds = study.plan, study.plan.runs_of_an_arm(), list[float | None]()
    yield plan.size()
    yield from alike
    for arm, recipe in plan.arms.items():
        reporter.message(f"planning {arm}")
        found = _arm(study, arm, recipe, reporter)
        facts = dict(found.facts)
        seconds.append(found.seconds)
        yield f"{arm} ({recipe}): {runs} runs, each"
        yield from (f"  {name:11}  {facts[name]}" for name in SHOWN if name in facts)
        yield from (f"  {one.severity}: {one.text}" for one in found.findings)
    if plan.panels:
        yield f"{len(plan.panels)} panels on {len(plan.seeds)} seeds, up to their scores"
    measured = [one for one in seconds if one is not None]
    if len(measured) < len(seconds):
        yield "all of it: the time is not known, for no step could be measured here"
    else:
        yield (
            f"all of it: {duration(runs * sum(measured) / jobs)}, {jobs} runs at a time, each as fast as one alone; "
            "without calls, tools and reading; less by what arms share (curation, the base's answers)"
        )


def _arm(study: Study, arm: str, recipe: str, reporter: Reporter) -> Diagnosis:
    plan = study.plan
    job = plan.job(arm, recipe, plan.seeds[0], plan.learning_rates[0])
    found = plan_recipe(recipe, study.settings_of(job), reporter, measure=True)
    if found.worst == "error":
        raise ConfigError(f"{arm}: {next(one.text for one in found.findings if one.severity == 'error')}")
    return found
