"""A run opened and worked on as a command asks: some of its stages, or all of them and its table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmedpo.config import RunSettings
from mmedpo.pipeline.options import refuse_idle, refuse_processes
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.progress import Reporter
from mmedpo.report.summary import print_summary
from mmedpo.run import CallOptions, open_run


def execute_stages(folder: Path, stages: Sequence[str], calls: CallOptions, reporter: Reporter) -> None:
    """Executes those of the stages that the run has; where it has none of them, the refusal says which it has.

    Raises:
        ConfigError: no such stage, several processes for another stage than training, or an option without effect.
    """
    if tuple(stages) != ("train",):
        refuse_processes(stages[-1])
    with open_run(folder, reporter=reporter) as opened:
        refuse_idle(opened.settings, stages, calls)
        opened.calls = calls
        known = {stage.name for stage in plan(opened.settings)}
        for stage in [name for name in stages if name in known] or stages:
            run_stages(opened, only=stage)


def run_to_report(settings: RunSettings, folder: Path, reporter: Reporter, calls: CallOptions | None = None) -> None:
    """A run from its first stage to its last, and its table.

    Raises:
        ConfigError: an option for language models, and none judges the answers.
    """
    with open_run(folder, settings, reporter) as opened:
        if calls is not None:
            refuse_idle(settings, ("judge-answers",), calls)
            opened.calls = calls
        run_stages(opened)
        print_summary(opened)
