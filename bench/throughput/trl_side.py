"""TRL's `DPOTrainer` on our workloads: its best settings, and the smallest subclass that gives it Eq. 3.

What the subclass adds: a weight per pair, another image on the rejected side, the order of the rows, and a
record of each step's loss, time and tokens. Everything else is TRL's own code.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image
from trl import DPOConfig, DPOTrainer
from trl.trainer import dpo_trainer
from trl.trainer import utils as trl_utils
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

from bench.throughput import models
from bench.throughput.clock import StepClock
from bench.throughput.side import Memory, Options, SideResult, versions
from bench.throughput.workloads import Pair, Workload

MICRO_PAIRS = {"cpu": 1, "cuda": 8}
"""Pairs per forward where none are asked for. CPU: of 1, 2, 4 and 8 with the small model, 1 and 2 were
the fastest and alike (7.3 s a step), and 1 took a third less memory. GPU: not measured;
sweep `--micro-pairs` there before calling a number TRL's best."""


class _WithRejectedImages:
    """TRL's processor, but the second half of the images (the rejected side) are the pairs' own."""

    def __init__(self, processor: Any, rejected: list[list[Any]]) -> None:
        self._processor, self._rejected = processor, rejected

    def __call__(self, images: Any = None, **arguments: Any) -> Any:
        if images is not None:
            images = [*images[: len(self._rejected)], *self._rejected]
        return self._processor(images=images, **arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


class EquationThreeCollator(DataCollatorForVisionPreference):
    """TRL's collator, which also passes on the weights and takes the rejected side's image."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Batch of TRL plus `weight` [pairs]."""
        weights = torch.tensor([example.pop("weight") for example in examples])
        own = self.processor
        self.processor = _WithRejectedImages(own, [example.pop("rejected_images") for example in examples])
        try:
            batch = super().torch_call(examples)
        finally:
            self.processor = own
        batch["weight"] = weights
        return batch


class _WeightedFunctional:
    """`torch.nn.functional` whose `logsigmoid` multiplies by a weight per pair."""

    def __init__(self, weights: torch.Tensor) -> None:
        self._weights = weights

    def logsigmoid(self, values: torch.Tensor) -> torch.Tensor:
        return self._weights * torch.nn.functional.logsigmoid(values)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.nn.functional, name)


class EquationThreeTrainer(DPOTrainer):
    """`DPOTrainer` with the weights of Eq. 3 and the rows in the order given."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.step_losses: dict[int, list[torch.Tensor]] = defaultdict(list)
        self.step_tokens: dict[int, int] = defaultdict(int)
        super().__init__(*arguments, **settings)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        weights = inputs.pop("weight")
        # The sigmoid loss is `-F.logsigmoid(beta * delta)` and its mean: a weight belongs between the two.
        dpo_trainer.F = _WeightedFunctional(weights)
        try:
            loss = super()._compute_loss(model, inputs, return_outputs)
        finally:
            dpo_trainer.F = torch.nn.functional
        self.step_losses[self.state.global_step].append(loss.detach())
        self.step_tokens[self.state.global_step] += inputs["input_ids"].numel()
        return loss


def run(
    folder: Path, workload: Workload, *, steps: int, checkpointing: bool, device: str, options: Options
) -> SideResult:
    """Trains `steps` optimizer steps and measures them."""
    kind = "cuda" if device.startswith("cuda") else "cpu"
    micro = _divisor(workload.pairs_per_step, options.micro_pairs or MICRO_PAIRS[kind])
    processor = models.load_processor(folder)
    base = models.load_base(folder, options.dtype, device, quantised=options.quantised)
    clock = StepClock(device)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = EquationThreeTrainer(
            model=base,
            args=_config(scratch, workload, micro, steps, checkpointing, device, options),
            train_dataset=_dataset(workload, steps),
            processing_class=processor,
            data_collator=EquationThreeCollator(processor=processor, max_length=None),
            # Not an already wrapped model: TRL would then run the reference through a second, frozen adapter.
            peft_config=models.adapter_config(base, options.rank, options.alpha),
            callbacks=[clock],
        )
        memory = Memory(device)
        # Off the GPU, TRL's head scores every position; on it, only those of answers. TRL gets its faster way here too.
        with mock.patch.object(trl_utils, "_use_triton", return_value=True):
            trainer.train()
    return SideResult(
        losses=[float(torch.stack(trainer.step_losses[step]).mean()) for step in range(steps)],
        seconds=clock.seconds,
        tokens=[trainer.step_tokens[step] for step in range(steps)],
        once_seconds=0.0,
        peak_memory=memory.peak(),
        memory_before=memory.before,
        settings=(
            f"DPOTrainer, {micro} pair(s) per device batch x {workload.pairs_per_step // micro} accumulated, "
            "reference by disabling the adapter in every step (precomputing it raises for vision datasets), "
            "head on the positions of answers only (TRL's own way on GPUs, turned on for CPUs too)"
        ),
        versions=versions("torch", "transformers", "peft", "trl", "accelerate", "datasets"),
    )


def _divisor(pairs: int, wanted: int) -> int:
    """The largest number up to `wanted` that divides the pairs of a step: every batch then weighs the same."""
    return max(size for size in range(1, min(pairs, wanted) + 1) if pairs % size == 0)


def _config(
    scratch: str, workload: Workload, micro: int, steps: int, checkpointing: bool, device: str, options: Options
) -> Any:
    return DPOConfig(
        output_dir=scratch,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=workload.pairs_per_step // micro,
        max_steps=steps,
        beta=options.beta,
        max_length=None,
        learning_rate=options.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=options.max_grad_norm,
        optim="adamw_torch_fused",
        gradient_checkpointing=checkpointing,
        bf16=options.dtype == "bfloat16",
        use_cpu=not device.startswith("cuda"),
        seed=options.seed,
        # Pictures lie in memory; workers would only take cores (CPU) or copy them (GPU).
        dataloader_num_workers=0,
        dataloader_pin_memory=device.startswith("cuda"),
        remove_unused_columns=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def _dataset(workload: Workload, steps: int) -> Any:
    """Rows in the order of the steps; pictures are handed out from memory, never decoded."""
    from datasets import Dataset

    pairs = [pair for step in workload.steps(steps) for pair in step]
    names = sorted({name for pair in pairs for name in (pair.image, pair.rejected_image)})
    pictures = {name: Image.fromarray(workload.pixels(name)) for name in names}

    def rows(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        made = [_row(pairs[index], pictures) for index in batch["index"]]
        return {key: [row[key] for row in made] for key in made[0]}

    return Dataset.from_dict({"index": list(range(len(pairs)))}).with_transform(rows)


def _row(pair: Pair, pictures: dict[str, Any]) -> dict[str, Any]:
    return {
        "images": [pictures[pair.image]],
        "rejected_images": [pictures[pair.rejected_image]],
        "prompt": [{"role": "user", "content": pair.question}],
        "chosen": [{"role": "assistant", "content": pair.chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
        "weight": pair.weight,
    }
