"""The run folder: stages, fingerprints, locks, resume."""

from mmedpo.run.folder import FINETUNED, IMAGES, RESOLVED, CallOptions, Run, Stage
from mmedpo.run.opening import join_run, open_run, read_run
from mmedpo.run.streaming import in_order, run_async, settled, stream_chunks

__all__ = [
    "FINETUNED",
    "IMAGES",
    "RESOLVED",
    "CallOptions",
    "Run",
    "Stage",
    "in_order",
    "join_run",
    "open_run",
    "read_run",
    "run_async",
    "settled",
    "stream_chunks",
]
