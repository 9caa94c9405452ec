"""The processes that were launched together to share one run's training (torchrun, accelerate)."""

from __future__ import annotations

import os
from dataclasses import dataclass

from mmedpo.errors import ConfigError

LEFTOVERS = (
    "WORLD_SIZE",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
)
"""What a launcher sets and the libraries below believe, each by itself."""


@dataclass(frozen=True)
class Launch:
    """What a launcher told this process of its siblings."""

    rank: int
    """Number of this process; 0 holds the run's lock and alone writes."""
    size: int
    """How many there are."""
    identity: str
    """The same for all of them: where they meet. Empty for a process that is alone."""


def launch() -> Launch:
    """How this process was started.

    A number alone makes no sibling: without the address at which the processes meet it is a leftover
    of the environment, and the process is alone.

    Raises:
        ConfigError: the launcher's variables contradict each other.
    """
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    if size <= 1 or not address or not port:
        return Launch(0, 1, "")
    if rank >= size:
        raise ConfigError(f"RANK={rank} with WORLD_SIZE={size}: ranks count from 0; unset both, or use torchrun")
    # After a restart the processes meet anew: nobody takes what their killed process 0 left behind for a sign of life.
    again = f"{os.environ.get('TORCHELASTIC_RUN_ID', '')}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    return Launch(rank, size, f"{address}:{port}/{again}/{size}")


def forget_leftovers() -> None:
    """Takes a launcher's variables out of the environment of a process that is alone.

    The libraries below would wait for siblings that are not there, or take the device of another.
    """
    if launch().size == 1:
        for name in LEFTOVERS:
            os.environ.pop(name, None)


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or len(text) > 9:
        raise ConfigError(f"{name}={text[:40]!r} is not a number; unset it, or let torchrun set it")
    return int(text)
