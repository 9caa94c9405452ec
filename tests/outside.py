"""The package of `tests/plugin_package` as an installed one, in a process of its own that finds it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

PLUGIN = Path(__file__).parent / "plugin_package"
SOURCE = Path(__file__).resolve().parents[1] / "src"


def run_python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Runs `code` where the folders of `path` are searched first for modules."""
    search = os.pathsep.join(str(folder) for folder in (*path, SOURCE))
    environment = {**os.environ, "PYTHONPATH": search}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


def install(folder: Path) -> Path:
    """What installing the plug-in leaves on the search path: the package, and metadata with its entry points."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    folder.mkdir()
    shutil.copytree(PLUGIN / "mmedpo_colours", folder / "mmedpo_colours", ignore=shutil.ignore_patterns("__pycache__"))
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    return folder
