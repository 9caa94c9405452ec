"""Trains a small model for one epoch and writes the gradients of every optimizer step.

Run by the tests as one process, and by torchrun or accelerate as several:
python -m train.gradients_of_steps OUT BATCH_GROUPS GRADIENT_ACCUMULATION OBJECTIVE
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback

from engine.families import EOS, IMAGE, IMAGE_TOKENS, VIEWS, read_view, small_model
from mmedpo.config import LoraSettings, TermSettings, TrainSettings
from mmedpo.engine import Branch, Engine, FeatureStore
from mmedpo.models.hub import make_trainable
from mmedpo.train.groups import BranchPair, Group, branches_of
from mmedpo.train.trainer import PreferenceTrainer, training_arguments


def groups() -> list[Group]:
    """Seven groups of one to three pairs: the last step is short, and some pairs have weight 0."""
    result = []
    for number in range(7):
        view = VIEWS[number % 3]
        prompt = (1, *[IMAGE] * IMAGE_TOKENS, 10 + number % 2)
        chosen = Branch((view,), prompt, (20 + number, EOS))
        pairs = [
            BranchPair(f"{number}/{n}", "text", chosen, Branch((view,), prompt, (30 + n, 31, EOS)), weight)
            for n, weight in enumerate([1.25, 0.75, 0.0][: number % 3 + 1])
        ]
        # Two whole groups of weight 0, so that a process may have nothing to compute.
        result.append(
            [BranchPair(p.pair_id, p.kind, p.chosen, p.rejected, 0.0) for p in pairs] if number > 4 else pairs
        )
    return result


def whole(gradient: torch.Tensor) -> torch.Tensor:
    """A gradient with the shares of all processes, where each holds one (FSDP2)."""
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient.clone()


class _Record(TrainerCallback):
    """Keeps the gradients of every optimizer step, before clipping could tell the processes apart."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []
        self.split = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gradients are complete and exchanged."""
        named = list(kwargs["model"].named_parameters())
        base = getattr(kwargs["model"], "module", kwargs["model"]).get_base_model()
        # Layer by layer: weights that are gathered all at once would save nothing.
        self.split = all(isinstance(layer, FSDPModule) for layer in base.get_decoder().layers)
        self.split &= all(isinstance(p, DTensor) for _, p in named)
        self.steps.append({name.removeprefix("module."): whole(p.grad) for name, p in named if p.grad is not None})


def write_gradients(out: Path, batch_groups: int, accumulation: int, loss: str) -> None:
    """Trains and writes `step/parameter` -> gradient, and the losses of the log."""
    vlm = small_model("llama")
    settings = TrainSettings(
        objective=(TermSettings(loss=loss),),
        lora=LoraSettings(rank=4, alpha=8),
        epochs=1.0,
        batch_groups=batch_groups,
        gradient_accumulation=accumulation,
        learning_rate=1e-2,
        max_gradient_norm=1e6,
        schedule="constant_with_warmup",
        warmup_ratio=0.0,
    )
    engine = Engine(vlm, FeatureStore(vlm, read_view), max_tokens=40)
    every = groups()
    branches = branches_of([pair for group in every for pair in group])
    measured = engine.measure(branches)
    reference = dict(zip(branches, torch.split(measured.values, measured.tokens.tolist()), strict=True))
    make_trainable(vlm, settings, seed=0)
    torch.manual_seed(1)
    for parameter in vlm.model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0.0, 0.1)
    record = _Record()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = PreferenceTrainer(
            engine=engine,
            groups=every,
            reference=reference,
            settings=settings,
            arguments=training_arguments(settings, Path(scratch), 0, "cpu"),
            advance=lambda done, total: None,
            message=print,
        )
        trainer.add_callback(record)
        trainer.train()
    if trainer.is_world_process_zero():
        losses = [entry["loss"] for entry in trainer.state.log_history if "reward_accuracy" in entry or "loss" in entry]
        tensors = {f"{step}/{name}": g for step, named in enumerate(record.steps) for name, g in named.items()}
        about = {"losses": torch.tensor(losses[: len(record.steps)]), "split": torch.tensor(record.split)}
        save_file({**tensors, **about}, out)


if __name__ == "__main__":
    write_gradients(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
