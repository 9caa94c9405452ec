"""A stage of ten items in chunks of three, which hangs at one of them until its process is killed.

python killed_stage.py FOLDER SETTING HANG_AT
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmedpo.config import RunSettings
from mmedpo.records import Drop
from mmedpo.run import Run, Stage, open_run


def execute(path: Path, setting: str, hang_at: int = 99) -> None:
    """Notes the first item of every chunk that is computed in `computed`, beside the folder of the run."""

    def one_chunk(items: Sequence[int]) -> list[Drop]:
        if items[0] >= hang_at:
            sys.stdout.write("hanging\n")
            sys.stdout.flush()
            time.sleep(600)
        with (path.parent / "computed").open("a") as log:
            log.write(f"{items[0]} ")
        return [Drop(stage="s", item=str(item), reason=setting) for item in items]

    def work(run: Run) -> None:
        run.write("t.parquet", Drop, run.map("some items", range(10), 3, lambda: one_chunk, Drop))

    with open_run(path, RunSettings()) as run:
        run.execute(Stage("s", work, {"setting": setting}, (), ("t.parquet",)))


if __name__ == "__main__":
    execute(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
