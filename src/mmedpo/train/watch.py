"""Watching a run while it trains: a validation probe, the best adapter, and collapse.

A preference loss can fall to nothing while the model stops answering at all (the margin grows, and
both log-probabilities sink). So the run looks, every few steps, at log pi(y_w) and at what the model
really answers on validation questions, keeps the best adapter, and stops when the model degenerates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from mmedpo.config import WatchSettings
from mmedpo.records.looks import best_look, watch_log
from mmedpo.train.looks import collapse

Probe = Callable[[], Mapping[str, float]]
"""Measures the current model; `probe_score` (0..1, higher is better) and `probe_logprob_per_token`
(nats) are needed, anything else is logged beside them."""


class Watch(TrainerCallback):
    """Runs the probe at the start and every `settings.every` steps.

    Everything it decides is derived from the trainer's own log, which checkpoints carry: a resumed
    run decides as an uninterrupted one.
    """

    def __init__(self, probe: Probe, settings: WatchSettings, best_folder: Path) -> None:
        self.probe = probe
        self.settings = settings
        self.best_folder = best_folder
        self.trainer: Any = None
        """Set by the trainer that owns this watch."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measures the start, against which collapse is judged."""
        if state.global_step == 0:
            self._look(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measures, keeps the best adapter, and asks to stop on collapse."""
        if state.global_step % self.settings.every and state.global_step != state.max_steps:
            return
        self._look(state)
        looks = watch_log(state.log_history)
        if best_look(looks) is looks[-1]:
            self.trainer.save_model(str(self.best_folder))
        if collapse(looks, self.settings):
            control.should_training_stop = True

    def _look(self, state: TrainerState) -> None:
        model = self.trainer.model
        training = model.training
        model.eval()
        # A look must not touch the random numbers that training draws from. Every process takes part, for weights may
        # be split; what is decided by it, all decide by the same numbers.
        measured = dict(broadcast_object_list([dict(self.probe())])[0])
        model.train(training)
        state.log_history.append({**measured, "step": state.global_step})
