"""Where the work on many items runs: one file per executor, registered under the kind `executor`."""

from mmedpo.run.executors.executor import ChunkJob, Executor, ItemJob, ItemWork

__all__ = ["ChunkJob", "Executor", "ItemJob", "ItemWork"]
