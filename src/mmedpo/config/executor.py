"""Settings of the executor: where the work on many items runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmedpo.config.groups import Named, Settings


class ExecutorSettings(Settings):
    """Where models and visual tools work. None of these changes a result, so none makes a stage run again."""

    name: Annotated[str, Named("executor")] = "local"
    """Registered name: `local` is this process, `processes` several here, `ray` a cluster (docs/scale.md)."""
    workers: int | None = Field(None, ge=1, le=100_000)
    """Workers at most; None: as many as there is room for now. Set it where a cluster grows on demand."""
    cpus: int = Field(1, ge=1, le=10_000)
    """Cores, and threads, of a worker."""
    gpus: float | None = Field(None, ge=0, le=64)
    """GPUs of a worker, e.g. 0.5 for two that share one; None: one where the cluster has any and `model.device` is not
    `cpu`."""
