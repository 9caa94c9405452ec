"""Descent with a one-cycle rate: how models are trained on answers before any preference is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MAX_NORM = 1.0
"""Gradients of a larger norm are scaled down to it."""


class OneCycle:
    """AdamW whose rate climbs to its peak in the first tenth of the steps and falls to nothing.

    Args:
        parameters: what is trained.
        rate: the peak.
        total: steps.
        weight_decay: of AdamW.
    """

    def __init__(self, parameters: Sequence[Tensor], rate: float, total: int, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self._optimizer = torch.optim.AdamW(self.parameters, lr=rate, weight_decay=weight_decay, betas=(0.9, 0.98))
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=rate, total_steps=max(total, 2), pct_start=0.1
        )

    def step(self, *losses: Tensor) -> None:
        """One step down the sum of the losses given now and those whose gradients were added since the last."""
        for loss in losses:
            torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.parameters, MAX_NORM)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
