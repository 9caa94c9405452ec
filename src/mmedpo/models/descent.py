"""Descent with a one-cycle rate: how models are trained on answers before any preference is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmedpo.errors import TrainingError
from mmedpo.storage.tables import atomic_path

MAX_NORM = 1.0
"""Gradients of a larger norm are scaled down to it."""


class OneCycle:
    """AdamW whose rate climbs to its peak in the first tenth of the steps and falls to nothing.

    Steps are taken in float32: of 16-bit weights there is a copy, for most steps are too small to change them.

    Args:
        parameters: what is trained.
        rate: the peak.
        total: steps.
        weight_decay: of AdamW.
    """

    def __init__(self, parameters: Sequence[Tensor], rate: float, total: int, weight_decay: float) -> None:
        self.parameters = list(parameters)
        self._exact = [one if one.dtype == torch.float32 else one.detach().float() for one in self.parameters]
        self._optimizer = torch.optim.AdamW(self._exact, lr=rate, weight_decay=weight_decay, betas=(0.9, 0.98))
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, max_lr=rate, total_steps=max(total, 2), pct_start=0.1
        )

    def step(self, *losses: Tensor) -> None:
        """One step down the sum of the losses given now and those whose gradients were added since the last."""
        for loss in losses:
            torch.autograd.backward(loss)
        for own, exact in self._copies():
            exact.grad, own.grad = None if own.grad is None else own.grad.float(), None
        torch.nn.utils.clip_grad_norm_(self._exact, MAX_NORM)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()
        self._round()

    def _copies(self) -> list[tuple[Tensor, Tensor]]:
        """Weights of which there is a copy, with it."""
        return [(own, exact) for own, exact in zip(self.parameters, self._exact, strict=True) if own is not exact]

    @torch.no_grad()
    def _round(self) -> None:
        for own, exact in self._copies():
            own.copy_(exact)

    def save(self, file: Path, losses: Sequence[float]) -> None:
        """Writes weights, moments and schedule, from which `load` goes on.

        Args:
            file: replaced as a whole.
            losses: kept beside them.
        """
        state = self._optimizer.state_dict()
        tensors = {f"weight/{number}": weight.detach() for number, weight in enumerate(self._exact)}
        for number, moments in state["state"].items():
            tensors.update({f"{name}/{number}": value for name, value in moments.items()})
        told = {"groups": state["param_groups"], "schedule": self._schedule.state_dict(), "losses": list(losses)}
        with atomic_path(file) as partial:
            save_file(
                {name: value.contiguous() for name, value in tensors.items()}, partial, {"told": json.dumps(told)}
            )

    def load(self, file: Path) -> tuple[int, list[float]]:
        """Takes up what `save` wrote.

        Returns:
            Steps that were taken, and the losses that were kept.

        Raises:
            TrainingError: it is damaged, or of another model.
        """
        try:
            with safe_open(file, "pt") as opened:
                told = json.loads(opened.metadata()["told"])
                moments: dict[int, dict[str, Tensor]] = {}
                for name in opened.keys():  # noqa: SIM118  it is no mapping
                    kind, _, number = name.partition("/")
                    moments.setdefault(int(number), {})[kind] = opened.get_tensor(name)
            with torch.no_grad():
                for number, weight in enumerate(self._exact):
                    weight.copy_(moments[number].pop("weight"))
            self._round()
            self._optimizer.load_state_dict({"state": moments, "param_groups": told["groups"]})
            self._schedule.load_state_dict(told["schedule"])
            return int(told["schedule"]["last_epoch"]), [float(loss) for loss in told["losses"]]
        except OSError:
            raise
        except Exception as error:
            raise TrainingError(f"{file} is damaged ({type(error).__name__}); delete it and run again") from error
