"""How long a stage has worked, over all its attempts: a killed one left its work, and took its time for it."""

from __future__ import annotations

import time
from pathlib import Path

from mmedpo.storage.tables import write_text

FILE = "seconds"


class Clock:
    """Seconds spent on a stage.

    An attempt that was killed counts up to the last thing that it saved; what came after is done again, and counted
    then.

    Args:
        folder: of the stage's unfinished work, which later attempts find again.
    """

    def __init__(self, folder: Path) -> None:
        self._earlier = _spent(folder)
        self._started = time.monotonic()
        write_text(folder / FILE, f"{self._earlier} {time.time()}")

    def read(self) -> float:
        """Seconds until now, those of earlier attempts included."""
        return self._earlier + time.monotonic() - self._started


def _spent(folder: Path) -> float:
    """Seconds of the attempts before this one; 0 where there was none, or its note cannot be read."""
    try:
        earlier, began = map(float, (folder / FILE).read_text().split())
    except (OSError, ValueError):
        return 0.0
    saved = (path.stat().st_mtime for path in folder.rglob("*") if path.name != FILE and path.is_file())
    return earlier + max(0.0, max(saved, default=began) - began)
