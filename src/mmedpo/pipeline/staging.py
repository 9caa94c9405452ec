"""What commands do with a run: all of it with its table, or some of its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmedpo.config import RunSettings
from mmedpo.pipeline.options import refuse_idle, refuse_processes
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.progress import Reporter
from mmedpo.report.summary import print_summary
from mmedpo.run import CallOptions, open_run


def run_to_report(settings: RunSettings, folder: Path, reporter: Reporter, calls: CallOptions | None = None) -> None:
    """A run from its first stage to its last, and its table.

    Args:
        settings: of the run.
        folder: where it is, or will be.
        reporter: what progress goes to.
        calls: what was said of language models that mark answers; None: nothing can be said.
    """
    with open_run(folder, settings, reporter) as opened:
        if calls is not None:
            refuse_idle(settings, ("judge-answers",), calls)
            opened.calls = calls
        run_stages(opened)
        print_summary(opened)


def execute_stages(folder: Path, stages: Sequence[str], calls: CallOptions, reporter: Reporter) -> None:
    """Those of the stages that the run has, whether they were done or not.

    Args:
        folder: of the run.
        stages: names, the one that the command is called after last.
        calls: what was said of language models.
        reporter: what progress goes to.
    """
    refuse_processes(stages[-1])
    with open_run(folder, reporter=reporter) as opened:
        opened.calls = calls
        refuse_idle(opened.settings, stages, calls)
        known = {stage.name for stage in plan(opened.settings)}
        for stage in [name for name in stages if name in known] or stages:
            run_stages(opened, only=stage)
