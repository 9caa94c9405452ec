"""One stage of a run by its name: alone, as one of several processes that train, or a share of it."""

from __future__ import annotations

import re
from pathlib import Path

from mmedpo.errors import ConfigError, shown
from mmedpo.pipeline.plan import plan, run_stages
from mmedpo.progress import LineReporter
from mmedpo.run import join_run, open_run, read_run
from mmedpo.run.processes import launch
from mmedpo.run.sharing import Share, take_share


def work_on(folder: Path, name: str, share: str = "") -> None:
    """Does a stage whose inputs are there.

    Args:
        folder: the run.
        name: the stage, e.g. `train` or `rounds/2/train`.
        share: `K/N`, the K-th of N shares (from 0) of what the stage begins with; empty for all of it.

    Raises:
        ConfigError: no such stage, or no such share.
        Paused: the share is done.
    """
    if share:
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", share)
        if found is None:
            raise ConfigError(f"--share {shown(share)} is not K/N, e.g. 0/8; give the number of a share and of all")
        stages = {stage.name: stage for stage in plan(read_run(folder).settings)}
        if name not in stages:
            raise ConfigError(f"this run has no stage {shown(name)}; it has {', '.join(stages)}")
        take_share(folder, stages[name], Share(int(found[1]), int(found[2])), LineReporter())
    elif launch().rank:
        run_stages(join_run(folder), only=name)
    else:
        with open_run(folder, reporter=LineReporter()) as run:
            run_stages(run, only=name)
