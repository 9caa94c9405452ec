"""The clock of both trainers, so that a second is the same on both sides."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback

from bench.throughput.side import synchronize


class StepClock(TrainerCallback):
    """Time of each optimizer step from the end of the one before: fetching the data is part of it."""

    def __init__(self, device: str) -> None:
        self.device, self._last = device, 0.0
        self.seconds: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Starts the clock."""
        self._last = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Notes a step."""
        synchronize(self.device)
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now
