"""What one side of the comparison returns, and the subprocess that runs it.

Run: python -m bench.throughput.side --side trl --folder CHECKPOINT --workload JSON --out FILE
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.throughput.workloads import Workload

SIDES = {
    "trl": "bench.throughput.trl_side",
    "ours": "bench.throughput.our_side",
    "flex": "bench.throughput.flex_side",
    "plain": "bench.throughput.plain_side",
}
"""Modules with `run(folder, workload, *, steps, checkpointing, device, options) -> SideResult`."""


@dataclass(frozen=True)
class Options:
    """What both sides share beside model, data and checkpointing."""

    dtype: str = "float32"
    rank: int = 16
    alpha: int = 32
    beta: float = 0.1
    learning_rate: float = 1e-3
    """Constant; large enough that a wrong gradient shows in the next step's loss."""
    max_grad_norm: float = 1.0
    seed: int = 11
    quantised: bool = False
    """The language model's frozen layers in 4 bits (QLoRA)."""
    micro_pairs: int | None = None
    """Pairs per forward of the sides that take pairs one by one; None: the side chooses."""


@dataclass(frozen=True)
class SideResult:
    """Measurements of one run of one side."""

    losses: list[float]
    """Eq. 3, the mean over the pairs of each optimizer step, before its update."""
    seconds: list[float]
    """Wall clock of each optimizer step, data loading and update included."""
    tokens: list[int]
    """Tokens really fed to the policy's language model in each step, padding included."""
    once_seconds: float
    """Work done once for all epochs (reference, features) over all pairs of the run; 0 where there is none."""
    peak_memory: int
    """Bytes: resident memory of the process, or what torch allocated on the GPU."""
    memory_before: int
    """The same when model and adapter are loaded and training has not begun."""
    settings: str
    """In words."""
    versions: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_json(path: Path) -> SideResult:
        """Reads what the subprocess wrote."""
        return SideResult(**json.loads(path.read_text(encoding="utf-8")))


def versions(*names: str) -> dict[str, str]:
    """Installed versions of packages; absent ones are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


class Memory:
    """Peak memory of this process, or of torch on the GPU."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.before = self._now()

    def peak(self) -> int:
        """Bytes, since the process began (CPU) or since this object was made (GPU)."""
        if self.device.startswith("cuda"):
            import torch

            return int(torch.cuda.max_memory_allocated())
        return _status("VmHWM") or _max_resident()

    def _now(self) -> int:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.reset_peak_memory_stats()
            return int(torch.cuda.memory_allocated())
        return _status("VmRSS") or _max_resident()


def _status(key: str) -> int:
    """A field of /proc/self/status in bytes, 0 where there is none. Unlike ru_maxrss, VmHWM does not start at the
    memory of the process that started this one."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _max_resident() -> int:
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def synchronize(device: str) -> None:
    """Waits for the GPU, so that the clock reads finished work."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


def run_side(side: str, folder: Path, workload: Workload, **settings: Any) -> SideResult:
    """Runs one side in this process."""
    result: SideResult = importlib.import_module(SIDES[side]).run(folder, workload, **settings)
    return result


def main(argv: list[str] | None = None) -> None:
    """Entry of the subprocess."""
    parser = argparse.ArgumentParser(prog="python -m bench.throughput.side")
    parser.add_argument("--side", choices=sorted(SIDES), required=True)
    parser.add_argument("--folder", type=Path, required=True, help="checkpoint folder")
    parser.add_argument("--workload", type=json.loads, required=True, help="fields of a Workload as JSON")
    parser.add_argument("--options", type=json.loads, default={}, help="fields of Options as JSON")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args(argv)

    import torch

    torch.set_num_threads(arguments.threads)
    result = run_side(
        arguments.side,
        arguments.folder,
        Workload.from_json(arguments.workload),
        steps=arguments.steps,
        checkpointing=arguments.checkpointing,
        device=arguments.device,
        options=Options(**arguments.options),
    )
    if arguments.device.startswith("cuda"):
        result.versions["GPU"] = torch.cuda.get_device_name()
    arguments.out.write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
