"""Interleaved runs in fresh processes, and what they say. Loads no torch itself."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.throughput.side import Options, SideResult
from bench.throughput.workloads import Workload

ROOT = Path(__file__).parents[2]
EPOCHS = 3
"""Epochs over which work done once is spread, as in the paper."""
LOSS_TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}
"""Largest difference of a step's loss between sides that counts as the same loss: float32 sums in another order, after
a few updates, stay far below it; bfloat16 carries three digits."""


@dataclass(frozen=True)
class Case:
    """One comparison."""

    workload: Workload
    shape: str
    """Name in `models.SHAPES`."""
    device: str
    checkpointing: bool
    steps: int
    """Optimizer steps of a run; the first is not timed."""
    options: Options

    @property
    def key(self) -> str:
        """Identity in the file of raw results."""
        return f"{self.shape}/{self.device}/{self.workload.name}/{'checkpointing' if self.checkpointing else 'plain'}"


@dataclass
class Measured:
    """The runs of a case by side, in the order they ran."""

    case: Case
    runs: dict[str, list[SideResult]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    """Why a side has no (more) runs."""

    def as_json(self) -> dict[str, Any]:
        """Everything, for the raw file."""
        case = {**asdict(self.case), "workload": self.case.workload.as_json()}
        runs = {side: [asdict(run) for run in runs] for side, runs in self.runs.items()}
        return {"case": case, "runs": runs, "failures": self.failures}

    @staticmethod
    def from_json(fields: dict[str, Any]) -> Measured:
        """The inverse of `as_json`."""
        case = fields["case"]
        workload, options = Workload.from_json(case["workload"]), Options(**case["options"])
        runs = {side: [SideResult(**run) for run in runs] for side, runs in fields["runs"].items()}
        return Measured(Case(**{**case, "workload": workload, "options": options}), runs, fields["failures"])

    def step_seconds(self, side: str) -> list[float]:
        """Seconds of an optimizer step, one median per run; the first step of a run is left out, and work done
        once is spread over the steps of `EPOCHS` epochs."""
        return [
            statistics.median(run.seconds[1:]) + run.once_seconds / (len(run.seconds) * EPOCHS)
            for run in self.runs.get(side, [])
        ]

    def pairs_per_second(self, side: str) -> float | None:
        """Median over the runs; None where the side did not run."""
        seconds = self.step_seconds(side)
        return self.case.workload.pairs_per_step / statistics.median(seconds) if seconds else None

    def speedup(self, side: str, over: str = "trl") -> tuple[float, float, float] | None:
        """Ratio of medians, then smallest and largest ratio among the interleaved rounds."""
        slow, fast = self.step_seconds(over), self.step_seconds(side)
        if not slow or not fast:
            return None
        rounds = [a / b for a, b in zip(slow, fast, strict=False)]
        return statistics.median(slow) / statistics.median(fast), min(rounds), max(rounds)

    def peak_memory(self, side: str) -> int | None:
        """Bytes, the largest among the runs."""
        runs = self.runs.get(side)
        return max(run.peak_memory for run in runs) if runs else None

    def training_memory(self, side: str) -> int | None:
        """Bytes above the loaded model, the largest among the runs."""
        runs = self.runs.get(side)
        return max(run.peak_memory - run.memory_before for run in runs) if runs else None

    def loss_difference(self, side: str, other: str = "trl") -> float | None:
        """Largest absolute difference of a step's loss, over all runs of both; None where one did not run."""
        first, second = self.runs.get(side), self.runs.get(other)
        if not first or not second:
            return None
        return max(abs(a - b) for one in first for two in second for a, b in zip(one.losses, two.losses, strict=True))

    def losses_agree(self, side: str, other: str = "trl") -> bool | None:
        """Whether both sides computed the same losses; None where one did not run."""
        difference = self.loss_difference(side, other)
        return None if difference is None else difference <= LOSS_TOLERANCE[self.case.options.dtype]


def measure(
    case: Case, sides: Sequence[str], *, rounds: int, folder: Path, threads: int, log: Callable[[str], None]
) -> Measured:
    """Runs the sides in turn, `rounds` times, each in a process of its own. A side that fails is not run again."""
    measured = Measured(case)
    for number in range(rounds):
        for side in sides:
            if side in measured.failures:
                continue
            try:
                result = run_once(case, side, folder, threads)
            except SideFailed as failure:
                measured.failures[side] = str(failure)
                log(f"{case.key} {side}: failed: {failure}")
                continue
            measured.runs.setdefault(side, []).append(result)
            timed = statistics.median(result.seconds[1:])
            log(
                f"{case.key} round {number + 1}/{rounds} {side}: {timed:.2f} s a step, "
                f"{case.workload.pairs_per_step / timed:.2f} pairs/s, peak {result.peak_memory / 2**30:.2f} GiB"
            )
    return measured


class SideFailed(RuntimeError):
    """A side's process ended without a result; the message is the last line it wrote."""


def run_once(case: Case, side: str, folder: Path, threads: int) -> SideResult:
    """One run of one side in a fresh process.

    Raises:
        SideFailed: the process ended without a result.
    """
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "result.json"
        command = [sys.executable, "-m", "bench.throughput.side", "--side", side]
        command += ["--folder", str(folder), "--workload", json.dumps(case.workload.as_json())]
        command += ["--options", json.dumps(asdict(case.options)), "--steps", str(case.steps)]
        command += ["--device", case.device, "--threads", str(threads), "--out", str(out)]
        command += ["--checkpointing"] if case.checkpointing else []
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        environment |= {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        # As the program sets it; both sides take their memory from the same allocator.
        environment.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode or not out.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise SideFailed(lines[-1] if lines else f"exit status {done.returncode}, nothing written")
        return SideResult.from_json(out)


def machine() -> dict[str, str]:
    """The machine in generic words."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "cpu": model,
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


@dataclass
class Store:
    """The raw results beside the table; each case replaces what was measured of it before."""

    path: Path
    machines: dict[str, dict[str, str]] = field(default_factory=dict)
    """By device."""
    commands: dict[str, str] = field(default_factory=dict)
    cases: dict[str, Measured] = field(default_factory=dict)

    @staticmethod
    def open(path: Path) -> Store:
        """What the file holds; empty where there is none."""
        if not path.exists():
            return Store(path)
        raw = json.loads(path.read_text(encoding="utf-8"))
        cases = {key: Measured.from_json(fields) for key, fields in raw["cases"].items()}
        return Store(path, raw["machines"], raw["commands"], cases)

    def add(self, measured: Measured, command: str) -> None:
        """Stores a case and writes the file."""
        self.machines[measured.case.device] = machine()
        self.commands[measured.case.device] = command
        self.cases[measured.case.key] = measured
        raw = {
            "machines": self.machines,
            "commands": self.commands,
            "cases": {key: case.as_json() for key, case in self.cases.items()},
        }
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, self.path)
