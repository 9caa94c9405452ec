"""`mmedpo doctor`: is this checkpoint what it should be, and what would a recipe take?"""

from __future__ import annotations

from typing import Annotated

import typer

from mmedpo.cli.runs import Overrides


def doctor(
    model: Annotated[str | None, typer.Argument(help="Checkpoint folder, or `tiny`.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Recipe (name or .yaml) whose questions and settings it is tried on.")
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="Recipe: tell its memory, disk, calls and time, and run nothing else.")
    ] = None,
    settings: Overrides = None,
    measure: Annotated[bool, typer.Option(help="With --plan: measure one step, for the time.")] = True,
) -> None:
    """Examine a checkpoint before anything is computed with it, or plan a recipe.

    Shown: family, parts, the exact prompt, tokens, sharing, features against pixels, whether another image changes
    answers; and everything suspicious with its fix. Exit code: 0 nothing found, 1 warnings, 3 errors (2: could not be
    examined).

    Example: mmedpo doctor llava-med/ --data vqa-rad --set data.root=VQA_RAD

    Example: mmedpo doctor --plan vqa-rad --set model.name=llava-med/ --set data.root=VQA_RAD
    """
    from mmedpo.errors import ConfigError
    from mmedpo.pipeline.doctor.examination import examine_checkpoint
    from mmedpo.progress import LineReporter

    if (model is None) == (plan is None):
        raise ConfigError("give either a checkpoint, or --plan RECIPE (with --set model.name=FOLDER)")
    if plan is not None:
        from mmedpo.pipeline.doctor.plan import plan_recipe

        if data is not None:
            raise ConfigError("--data has no effect with --plan, whose recipe names its data; leave it out")
        diagnosis = plan_recipe(plan, settings or [], LineReporter(), measure=measure)
    else:
        if not measure:
            raise ConfigError("--no-measure has no effect without --plan; leave it out")
        diagnosis = examine_checkpoint(str(model), data, settings or [], LineReporter())
    for line in diagnosis.lines():
        print(line)
    raise typer.Exit(diagnosis.exit_code)
