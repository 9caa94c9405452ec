"""What was said on the command line and would change nothing, or something nobody means."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.config import RunSettings
from mmedpo.errors import ConfigError
from mmedpo.run import CallOptions
from mmedpo.run.processes import launch


def refuse_processes(command: str) -> None:
    """Only training shares its work among processes.

    Raises:
        ConfigError: a launcher started several.
    """
    if launch().size > 1:
        raise ConfigError(
            f"mmedpo {command} was started as {launch().size} processes, but only `mmedpo train RUN` shares its work; "
            "run the stages before it in one process, e.g. mmedpo run RECIPE --until score"
        )


def refuse_idle(settings: RunSettings, stages: Sequence[str], calls: CallOptions) -> None:
    """An option that would change nothing is a mistake worth hearing of.

    Raises:
        ConfigError: an option for language models, and none works in these stages.
    """
    if calls != CallOptions() and not any(settings.used_endpoints(stage) for stage in stages):
        raise ConfigError(
            "--allow-external, --estimate, --batch-out and --batch-in have no effect here, because no language model "
            f"works in {' or '.join(stages)} of this run; leave them out, or set a judge or an agent to chat:NAME"
        )
