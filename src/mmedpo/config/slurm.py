"""Settings of `mmedpo run --submit slurm`: what is asked of the cluster."""

from __future__ import annotations

from pydantic import Field

from mmedpo.config.groups import Settings

_WORD = r"^[\w.,:@+-]{0,100}$"
"""What stands in a line of a job script, and can end none."""


class SlurmSettings(Settings):
    """What every job asks for. None of these changes a result."""

    partition: str = Field("", pattern=_WORD)
    """Partition; empty: the cluster's own default, as in the next two."""
    account: str = Field("", pattern=_WORD)
    """Account that is charged."""
    time: str = Field("", pattern=_WORD)
    """Longest time of a job, e.g. 12:00:00. What does not end in it goes on when it is submitted again."""
    cpus: int = Field(4, ge=1, le=10_000)
    """Cores of a job, on each node."""
    gpus: int = Field(1, ge=0, le=64)
    """GPUs of a job in which a model works, on each node; training starts a process for each."""
    nodes: int = Field(1, ge=1, le=10_000)
    """Nodes that train together."""
    shares: int = Field(8, ge=1, le=1_000)
    """Jobs among which the work on many items is divided (grounding, sampling, answers); each on one node."""
