"""Clinical-aware multimodal preference optimization for medical vision-language models.

    from pathlib import Path
    import mmedpo

    settings = mmedpo.load_settings("phantom-mmedpo")
    with mmedpo.open_run(Path("runs/mine"), settings) as run:
        mmedpo.run_stages(run)  # data to report; goes on where an earlier run stopped

Single stages are the functions of `mmedpo.stages`. Importing this package loads neither torch nor
transformers; a name is imported when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmedpo.config import RunSettings, load_settings
    from mmedpo.errors import MMedPOError
    from mmedpo.pipeline.plan import run_stages
    from mmedpo.run import Run, open_run, read_run

    __version__: str

__all__ = ["MMedPOError", "Run", "RunSettings", "load_settings", "open_run", "read_run", "run_stages"]

_HOMES = {
    "MMedPOError": "mmedpo.errors",
    "Run": "mmedpo.run",
    "RunSettings": "mmedpo.config",
    "load_settings": "mmedpo.config",
    "open_run": "mmedpo.run",
    "read_run": "mmedpo.run",
    "run_stages": "mmedpo.pipeline.plan",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # Reading it takes a tenth of a second, which `mmedpo --help` would wait for.
        from importlib.metadata import version

        return version("mmedpo")
    if name not in _HOMES:
        raise AttributeError(f"module 'mmedpo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
