"""Anomalies as SQLite tests them: any file operation fails, or the process dies there, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEED = os.environ.get("MMEDPO_FAULT_SEED", "0")
"""Draws the operations of the short test; another one looks elsewhere."""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler and Linux, to put itself between the run and the C library")
    library = tmp_path_factory.mktemp("shim") / "faults.so"
    options = ["-shared", "-fPIC", "-O1", "-pthread"]
    subprocess.run([compiler, *options, "-o", library, HERE / "faults.c", "-ldl"], check=True)
    return library


def drill(shim: Path, folder: Path, wanted: str) -> dict:
    environment = {**os.environ, "LD_PRELOAD": str(shim), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [sys.executable, "-W", "ignore", str(HERE / "drill.py"), str(folder), wanted, SEED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("count", ["3", pytest.param("40", marks=pytest.mark.long)])
def test_some_faults(shim: Path, tmp_path: Path, count: str) -> None:
    found = drill(shim, tmp_path, count)
    assert set(found["operations"]) >= {"data", "ground", "curate", "score", "train", "evaluate", "report"}
    assert all(count > 20 for count in found["operations"].values()), "the shim sees every stage work"
    assert found["failures"] == []


@pytest.mark.long
@pytest.mark.timeout(0)
def test_every_fault(shim: Path, tmp_path: Path) -> None:
    found = drill(shim, tmp_path, "all")
    assert found["failures"] == []
