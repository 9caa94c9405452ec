"""RadEval's own environment: where it lies, what is in it, and how it is prepared, by an explicit command alone."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmedpo.errors import ConfigError, EvaluationError, brief, shown
from mmedpo.evaluate.radeval.process import Worker, WorkerFailed
from mmedpo.registry import suggestion
from mmedpo.storage.tables import write_text

REQUIREMENT = "radeval==2.2.1"
"""The version whose interface the worker speaks."""
BESIDE = "scikit-learn<1.9"
"""Its CheXbert-F1 cannot use the sparse arrays of a later one."""
PACKAGES_GB = 8
"""Disk for RadEval's packages: PyTorch, transformers, spaCy, Stanza and what they need."""
WEIGHTS_GB = {"radgraph": 1, "f1chexbert": 1, "ratescore": 2, "green": 14, "crimson": 9}
"""Metric -> disk for its weights, about; only asked for where they are fetched."""
MARKER = "environment.json"
"""Written last: without it nothing is prepared."""
LOADING = 3600.0
"""Seconds until a metric must be loaded."""
PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "TMPDIR", "SYSTEMROOT")
"""Variables that the worker sees; keys and tokens are none of its business."""


def place() -> Path:
    """Folder of the environment, in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "mmedpo" / "radeval"


def identity(folder: Path) -> str:
    """What is prepared there, for fingerprints; empty where nothing is."""
    marker = folder / MARKER
    return marker.read_text(encoding="utf-8") if marker.is_file() else ""


def absent(folder: Path, metric: str) -> str:
    """Why a metric cannot be computed; empty where it can."""
    told = identity(folder)
    if not told:
        return "RadEval is not installed: mmedpo metrics install radeval"
    if metric not in json.loads(told)["metrics"]:
        return f"its weights are not installed: mmedpo metrics install radeval --metric {metric}"
    return ""


def opened(folder: Path, metric: str, log: Path, *, offline: bool = True, loading: float = LOADING) -> Worker:
    """A worker with the metric loaded; it reaches no network, except to fetch its weights when they are prepared.

    Raises:
        WorkerFailed: it cannot be loaded.
    """
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    own = {
        "HF_HOME": str(folder / "weights"),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return Worker(python_of(folder), metric, {**passed, **own}, log, loading)


def python_of(folder: Path) -> Path:
    """Its interpreter."""
    return folder / "venv" / "bin" / "python"


def commands(folder: Path, requirement: str = REQUIREMENT) -> list[list[str]]:
    """What prepares the packages."""
    return [
        [sys.executable, "-m", "venv", "--clear", str(folder / "venv")],
        [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check", requirement, BESIDE],
    ]


def prepare(
    folder: Path,
    metrics: Sequence[str],
    message: Callable[[str], None],
    requirement: str = REQUIREMENT,
    *,
    only_tell: bool = False,
) -> None:
    """Makes the environment: packages first, then the weights of each metric, fetched by loading it once.

    Args:
        folder: where; what an earlier call prepared there is replaced.
        metrics: names in RadEval; none: all.
        message: is told every command, and what disk it takes, before anything is done.
        requirement: what pip is asked for.
        only_tell: end there.

    Raises:
        ConfigError: a metric that is not known.
        EvaluationError: too little disk, a command that failed, or a metric that cannot be loaded.
    """
    if unknown := sorted(set(metrics) - set(WEIGHTS_GB)):
        raise ConfigError(
            f"RadEval's metric {shown(unknown[0])} is not known here; {suggestion(unknown[0], [*WEIGHTS_GB])}"
        )
    metrics = list(dict.fromkeys(metrics or WEIGHTS_GB))
    needed = PACKAGES_GB + sum(WEIGHTS_GB[name] for name in metrics)
    for command in commands(folder, requirement):
        message(shlex.join(command))
    message(f"then the weights of {', '.join(metrics)} from huggingface.co; about {needed} GB of disk in {folder}")
    if only_tell:
        return
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free / 1e9
    if free < needed:
        raise EvaluationError(f"RadEval takes about {needed} GB and {folder} has {free:.0f} GB; make room")
    (folder / MARKER).unlink(missing_ok=True)
    for command in commands(folder, requirement):
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise EvaluationError(f"{' '.join(command[1:4])} ended with code {done.returncode}: {brief(last)}")
    for metric in metrics:
        message(f"loading {metric}")
        try:
            opened(folder, metric, folder / f"{metric}.log", offline=False).close()
        except WorkerFailed as failure:
            raise EvaluationError(f"RadEval's metric {metric}: {failure}; see {folder / metric}.log") from None
    write_text(folder / MARKER, json.dumps({"radeval": requirement, "metrics": sorted(metrics)}))
    message(f"prepared in {folder}; name the metrics in evaluate.radeval.metrics")
