"""Checkpoints of an unfinished training: which is the last whole one, and what is said of one that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerState, TrainingArguments

from mmedpo.errors import TrainingError

COMPLETE = "complete"
"""Marker inside a checkpoint that was written to its end."""
_NAME = re.compile(r"checkpoint-([0-9]{1,12})")


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; a half-written one is passed over.

    Raises:
        TrainingError: it does not say that it is of the step it is named by.
    """
    named = [(int(name[1]), path) for path in folder.glob("*") if (name := _NAME.fullmatch(path.name))]
    step, last = max(((step, path) for step, path in named if (path / COMPLETE).exists()), default=(0, None))
    if last is not None:
        with reading(last):
            if TrainerState.load_from_json(str(last / "trainer_state.json")).global_step != step:
                raise ValueError("another step")
    return last


def logged(checkpoint: Path) -> list[dict[str, Any]]:
    """What the trainer had logged when the checkpoint was written, looks included."""
    with reading(checkpoint):
        found: list[dict[str, Any]] = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")).log_history
        return found


@contextmanager
def reading(checkpoint: Path | str | None) -> Iterator[None]:
    """Turns whatever the libraries say of the files of a checkpoint into one line.

    Raises:
        TrainingError: they cannot be read. Nothing in them is ever executed: torch reads weights only.
    """
    try:
        yield
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise
        raise _damaged(checkpoint, error) from error
    except Exception as error:
        raise _damaged(checkpoint, error) from error


def _damaged(checkpoint: Path | str | None, error: Exception) -> TrainingError:
    return TrainingError(f"{checkpoint} is damaged ({type(error).__name__}); delete that folder and run again")


class MarkComplete(TrainerCallback):
    """Marks a checkpoint once everything in it has been written."""

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after the last file that this process writes of a checkpoint."""
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()
