"""A thin subclass of transformers.Trainer: only the loss and the collation are ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mmedpo.config import TrainSettings
from mmedpo.engine import FeatureStore, branch_logprobs
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.progress import Advance
from mmedpo.train.groups import BranchPair
from mmedpo.train.objectives import PreferenceLoss, token_nll, weighted_dpo
from mmedpo.train.reference import ReferenceLogprobs, distinct_branches
from mmedpo.train.watch import Watch

COMPLETE = "complete"
"""Marker inside a checkpoint that was written to its end."""


class GroupIndex(Dataset[int]):
    """The trainer's dataset: numbers of groups; the groups themselves never leave the process."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


class PreferenceTrainer(Trainer):
    """Trains the adapter on groups of preference pairs with Eq. 3, or on their chosen answers (SFT)."""

    def __init__(
        self,
        vlm: VisionLanguageModel,
        groups: Sequence[Sequence[BranchPair]],
        reference: ReferenceLogprobs,
        features: FeatureStore,
        settings: TrainSettings,
        arguments: TrainingArguments,
        watch: Watch,
        advance: Advance,
    ) -> None:
        self.vlm = vlm
        self.groups = groups
        self.reference = reference
        self.features = features
        self.settings = settings
        watch.trainer = self
        super().__init__(
            model=vlm.model,
            args=arguments,
            train_dataset=GroupIndex(len(groups)),
            data_collator=lambda items: {"groups": torch.tensor(items)},
            # The watch comes first: what it logs at a step must be in that step's checkpoint.
            callbacks=[watch, _Progress(advance), _MarkComplete()],
        )
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """Loss of one batch of groups; every distinct branch is computed once."""
        pairs = [pair for index in inputs["groups"].tolist() for pair in self.groups[index]]
        if self.settings.method == "sft":
            branches = distinct_branches(pair.chosen for pair in pairs)
            loss = token_nll(*branch_logprobs(self.vlm, branches, self.features, model))
            return self._noted(loss)
        result = self._preference_loss(model, pairs)
        return self._noted(
            result.loss,
            chosen_reward=result.chosen_reward.mean().item(),
            rejected_reward=result.rejected_reward.mean().item(),
            reward_accuracy=(result.chosen_reward > result.rejected_reward).float().mean().item(),
        )

    def _noted(self, loss: Tensor, **measured: float) -> Tensor:
        """Puts one batch into the log (the trainer's own entry averages since the last one, across a resume)."""
        self.state.log_history.append({"step": self.state.global_step, "loss": loss.item(), **measured})
        return loss

    def _preference_loss(self, model: Any, pairs: list[BranchPair]) -> PreferenceLoss:
        branches = distinct_branches(branch for pair in pairs for branch in (pair.chosen, pair.rejected))
        row = {branch: number for number, branch in enumerate(branches)}
        policy = branch_logprobs(self.vlm, branches, self.features, model).total
        reference = policy.new_tensor([self.reference[branch] for branch in branches])
        chosen = [row[pair.chosen] for pair in pairs]
        rejected = [row[pair.rejected] for pair in pairs]
        return weighted_dpo(
            policy[chosen],
            policy[rejected],
            reference[chosen],
            reference[rejected],
            policy.new_tensor([pair.weight for pair in pairs]),
            self.settings.beta,
        )


def training_arguments(settings: TrainSettings, folder: Path, seed: int, device: str) -> TrainingArguments:
    """Our settings in the terms of transformers."""
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_examples,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_gradient_norm,
        logging_steps=5,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
        log_level="error",
        # Answers of weight zero or a probe must not hide a loss that is not a number.
        logging_nan_inf_filter=False,
    )


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; a half-written one is passed over."""
    found = [path for path in folder.glob("checkpoint-*") if (path / COMPLETE).exists()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


class _MarkComplete(TrainerCallback):
    """Marks a checkpoint once everything in it has been written."""

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer after the last file of a checkpoint."""
        (Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / COMPLETE).touch()


class _Progress(TrainerCallback):
    """Moves our progress line in place of the trainer's own bar."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimizer step is done."""
        self.advance(state.global_step, state.max_steps)
