"""Our own side of the comparison."""

from __future__ import annotations

from pathlib import Path

from bench.throughput.side import Options, SideResult
from bench.throughput.workloads import Workload


def run(
    folder: Path, workload: Workload, *, steps: int, checkpointing: bool, device: str, options: Options
) -> SideResult:
    """Trains `steps` optimizer steps of the workload with the engine and measures them."""
    raise NotImplementedError("our side of the benchmark is not written yet; use --sides trl,plain")
