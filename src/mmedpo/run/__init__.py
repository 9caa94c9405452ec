"""The run folder: declared stages, models by name, fingerprints, locks, resume."""

from mmedpo.run.calling import CallOptions
from mmedpo.run.executors import ItemWork
from mmedpo.run.folder import Run
from mmedpo.run.opening import join_run, open_run, read_run, run_folder
from mmedpo.run.slots import BASE, TUNED, Slot
from mmedpo.run.stage import Stage, in_folder, picked
from mmedpo.run.waiting import run_async, settled

__all__ = [
    "BASE",
    "TUNED",
    "CallOptions",
    "ItemWork",
    "Run",
    "Slot",
    "Stage",
    "in_folder",
    "join_run",
    "open_run",
    "picked",
    "read_run",
    "run_async",
    "run_folder",
    "settled",
]
