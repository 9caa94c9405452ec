"""The run folder: stages, fingerprints, locks, resume."""

from mmedpo.run.folder import FINETUNED, RESOLVED, Run, Stage
from mmedpo.run.opening import join_run, open_run, read_run

__all__ = ["FINETUNED", "RESOLVED", "Run", "Stage", "join_run", "open_run", "read_run"]
