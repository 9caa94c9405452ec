"""A process killed in the middle of its calls: nothing that was answered and stored is asked again."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from chat.chat_server import ChatServer
from chat.scripts import delayed
from mmedpo.score.stage import score
from score.panel import debating_run, pair, panellist, settings

SCRIPT = """
import sys
from pathlib import Path
from mmedpo.run import open_run
from mmedpo.score.stage import score, stage

with open_run(Path(sys.argv[1])) as run:
    run.stage = stage(run.settings)
    score(run)
"""
IN_FLIGHT = 16


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], env=os.environ.copy())


def stored(folder: Path) -> int:
    with sqlite3.connect(folder / "calls.sqlite") as file:
        return int(file.execute("SELECT count(*) FROM calls").fetchone()[0])


def test_kill_nine_loses_at_most_the_calls_in_flight(tmp_path: Path) -> None:
    pairs = [pair(number) for number in range(100)]
    with ChatServer(panellist) as server:
        wanted = score(debating_run(tmp_path / "calm", settings({"a": server.url, "b": server.url}), pairs))
    folder = tmp_path / "killed"
    with ChatServer(delayed(0.02, panellist)) as server:
        each = {"concurrency": IN_FLIGHT // 2}
        debating_run(folder, settings({"a": server.url, "b": server.url}, endpoint=each), pairs)
        answered = 0
        for _ in range(3):
            process = start(folder)
            until = answered + 45
            while sum(server.paid.values()) < until and process.poll() is None:
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.1)  # what was on its way to the killed process is counted as paid
            answered = sum(server.paid.values())
            again = answered - len(server.paid)
            lost = answered - again - stored(folder)
            assert 0 <= lost <= IN_FLIGHT
            assert again <= 3 * IN_FLIGHT
        assert start(folder).wait() == 0
        again = sum(server.paid.values()) - len(server.paid)
    assert again <= 3 * IN_FLIGHT
    assert stored(folder) == len(server.paid)
    from mmedpo.records import PreferencePair
    from mmedpo.run import read_run

    assert read_run(folder).read("pairs.parquet", PreferencePair) == wanted
