"""A thin subclass of transformers.Trainer: batches of groups, forward passes filled by tokens, our loss.

Everything else is the trainer's own: torchrun and accelerate launch, FSDP and DeepSpeed configurations,
gradient accumulation, checkpoints, trackers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate.utils import DistributedType
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from mmedpo.config import TrainSettings
from mmedpo.engine import Branch, Engine, TokenLogprobs
from mmedpo.errors import TrainingError
from mmedpo.progress import Advance
from mmedpo.train.checkpoints import MarkComplete, reading
from mmedpo.train.contrast import Contrast
from mmedpo.train.forms import View
from mmedpo.train.groups import BranchPair, Group, branches_of, families
from mmedpo.train.losses import PairValues
from mmedpo.train.objectives import Objective
from mmedpo.train.sampler import GroupIndex, StepLoader, StepSampler
from mmedpo.train.splitting import prepare_splitting
from mmedpo.train.values import pair_values
from mmedpo.train.watch import Watch

ADVICE = "lower engine.max_tokens or train.batch_groups, or set train.activation_checkpointing=true"
"""Where memory ends."""
SPLIT = (DistributedType.FSDP, DistributedType.DEEPSPEED)
"""Where no process holds the whole model."""


class Batch(NamedTuple):
    """What one process computes between two calls of the trainer."""

    pairs: list[BranchPair]
    """Pairs that need a forward pass, families together."""
    counted: int
    """All pairs, those without a forward pass included (SFT: answer tokens)."""


class PreferenceTrainer(Trainer):
    """Trains on groups of preference pairs with an objective, or on their chosen answers (SFT)."""

    def __init__(
        self,
        engine: Engine,
        groups: Sequence[Group],
        reference: Mapping[Branch, Tensor],
        settings: TrainSettings,
        arguments: TrainingArguments,
        advance: Advance,
        message: Callable[[str], None],
        watch: Watch | None = None,
        contrast: Contrast | None = None,
    ) -> None:
        self.engine = engine
        self.contrast = contrast
        self.groups = groups
        self.reference = reference
        self.settings = settings
        self.message = message
        self.every: Objective = Objective(settings.objective, settings.beta)
        """All terms."""
        self.objective: Objective = self.every.at(0.0)
        """Those that count in this step."""
        self._halved = False
        self._earlier: list[Batch] = []
        self._noted = torch.zeros(6, dtype=torch.float64)
        callbacks: list[TrainerCallback] = [_Progress(advance), MarkComplete()]
        if settings.method == "preference":
            callbacks.append(_Stages(self.every))
        if watch:
            watch.trainer = self
            # It comes first: what it logs at a step must be in that step's checkpoint.
            callbacks.insert(0, watch)
        prepare_splitting(engine.vlm.base)
        super().__init__(
            model=engine.vlm.model,
            args=arguments,
            callbacks=callbacks,
            train_dataset=GroupIndex(len(groups)),
        )
        self.remove_callback(PrinterCallback)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with reading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with reading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _sampler(self, arguments: TrainingArguments) -> StepSampler:
        tokens = [sum(len(b.prompt) + len(b.response) for b in branches_of(group)) for group in self.groups]
        seed = int(arguments.data_seed or arguments.seed)
        return StepSampler(tokens, self.settings.batch_groups, seed, arguments.process_index, arguments.world_size)

    def get_train_dataloader(self) -> StepLoader:
        """Batches of group numbers for this process; the trainer's own loader would fill up with repeats."""
        return StepLoader(self._sampler(self.args))

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        """The batches of one optimizer step, and over how many pairs of all processes its loss is the mean."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.objective = self.every.at(self.state.global_step / max(self.state.max_steps, 1))
        counted = torch.tensor(sum(self._batch(sample).counted for sample in samples), device=device)
        return samples, self.accelerator.reduce(counted, reduction="sum")

    def training_step(
        self, model: Any, inputs: dict[str, Tensor], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Forward and backward of one batch, in as many passes as it takes; returns its share of the loss.

        Raises:
            TrainingError: no memory even at half of `engine.max_tokens`, or pairs too large for a pass.
        """
        assert num_items_in_batch is not None
        model.train()
        batch, total = self._batch(inputs), int(num_items_in_batch)
        loss = self._with_less_memory(model, batch, total)
        if self.accelerator.sync_gradients:
            self._earlier = []
            self._write_note(total)
        else:
            self._earlier.append(batch)
        return loss

    def _with_less_memory(self, model: Any, batch: Batch, total: int) -> Tensor:
        """`_descend`, and once more with passes of half the size where memory ends."""
        noted = self._noted.clone()
        again: list[Batch] = []
        while True:
            try:
                for before in again:
                    self._descend(model, before, total)
                self._noted = noted.clone()
                return self._descend(model, batch, total)
            except Exception as error:
                if not isinstance(error, torch.OutOfMemoryError) and not should_reduce_batch_size(error):
                    raise
                self._halve(error)
                # What earlier passes of this step left behind is incomplete or mixed: the step starts over.
                model.zero_grad()
                again = self._earlier

    def _batch(self, inputs: dict[str, Tensor]) -> Batch:
        pairs = [pair for index in inputs["groups"].tolist() for pair in self.groups[index]]
        if self.settings.method == "sft":
            return Batch(pairs, sum(len(branch.response) for branch in self._asked(pairs)))
        if self.contrast is not None:
            pairs = self.contrast.put(pairs)
        needed = []
        for family in families(pairs):
            useful = [pair for pair in family if self.objective.needs(pair)]
            needed += family if useful and self.objective.whole_families else useful
        return Batch(needed, len(pairs))

    def _descend(self, model: Any, batch: Batch, total: int) -> Tensor:
        """Adds the batch's gradient of (sum of losses) / total; gradients are exchanged in the last pass."""
        units = families(self._drawn(batch.pairs))
        asked = [self._asked(unit) for unit in units]
        bins = [[pair for number in part for pair in units[number]] for part in self._parts(asked)]
        # Every process takes part in every exchange, also one that has nothing to say.
        bins = [[]] * (self._passes(len(bins)) - len(bins)) + bins
        # The processes' gradients are averaged, the loss is a mean over all their pairs.
        scale = self.args.world_size / total if total else 0.0
        loss = torch.zeros((), device=self.args.device)
        for number, pairs in enumerate(bins):
            final = number == len(bins) - 1
            with nullcontext() if final else self._held_back(model):
                part = (self._sum(model, pairs) if pairs else self._nothing(model)) * scale
                extra = (
                    {"scale_wrt_gas": False} if self.accelerator.distributed_type == DistributedType.DEEPSPEED else {}
                )
                self.accelerator.backward(part, **extra)
            loss += part.detach()
        return loss

    def _parts(self, asked: Sequence[Sequence[Branch]]) -> list[list[int]]:
        """Numbers of the units, pass by pass; what only a whole pass held, and memory did not, ends the run."""
        try:
            return self.engine.bins(asked)
        except TrainingError as error:
            if not self._halved:
                raise
            tokens = 2 * self.engine.max_tokens
            raise TrainingError(
                f"out of memory with engine.max_tokens={tokens}, and pairs that must be computed together do not fit "
                f"into {self.engine.max_tokens}; {ADVICE}"
            ) from error

    def _passes(self, own: int) -> int:
        """How many passes a batch takes: of split weights as many as on the process with the most, for each pass
        gathers them; of whole ones only the last is waited for."""
        if self.args.world_size == 1:
            return own
        if self.accelerator.distributed_type not in SPLIT:
            return max(own, 1)
        every = self.accelerator.gather(torch.tensor([own], device=self.args.device))
        return max(int(every.max()), 1)

    def _drawn(self, pairs: list[BranchPair]) -> list[BranchPair]:
        """The pairs with what the policy says now of the noised image, where a term looks at it."""
        if self.settings.method == "sft" or not self.objective.draws:
            return pairs
        shown = [pair.rejected for pair in pairs if pair.inherent is not None and pair.rejected is not None]
        said = self.engine.likeliest(list(dict.fromkeys(shown)))
        return [
            replace(pair, inherent=replace(pair.chosen, response=said[pair.rejected]))
            if pair.inherent is not None and pair.rejected is not None
            else pair
            for pair in pairs
        ]

    def _asked(self, pairs: Sequence[BranchPair]) -> list[Branch]:
        if self.settings.method == "sft":
            return list(dict.fromkeys(pair.chosen for pair in pairs))
        return list(dict.fromkeys(branch for pair in pairs for branch in self.objective.branches(pair)))

    def _sum(self, model: Any, pairs: Sequence[BranchPair]) -> Tensor:
        """Sum of the pairs' losses in one forward pass."""
        branches = self._asked(pairs)
        policy = self.engine.logprobs(branches, model)
        if self.settings.method == "sft":
            loss = -policy.values.sum()
            measured = torch.tensor([loss.item(), 0.0, 0.0, 0.0, len(policy.values), 0.0])
        else:
            frozen = self._frozen(branches) if self.objective.spreads else None
            reference = {**self.reference, **self._late(pairs)}
            values = {
                view: pair_values(pairs, branches, policy, reference, view, frozen) for view in self.objective.views
            }
            loss = self.objective.sum(values)
            measured = torch.tensor([loss.item(), *self._rewards(values.get(View()))])
        self._noted += measured
        return loss

    def _late(self, pairs: Sequence[BranchPair]) -> Mapping[Branch, Tensor]:
        """log pi_0 of answers that were drawn in this step."""
        drawn = [pair.inherent for pair in pairs if pair.inherent is not None] if self.objective.draws else []
        unknown = [branch for branch in dict.fromkeys(drawn) if branch not in self.reference]
        if not unknown:
            return {}
        said = self._frozen(unknown)
        return dict(zip(unknown, torch.split(said.values.cpu(), said.tokens.tolist()), strict=True))

    @torch.no_grad()
    def _frozen(self, branches: Sequence[Branch]) -> TokenLogprobs:
        """The reference's answer to the same branches: the model without its adapter."""
        with self.engine.vlm.model.disable_adapter():
            return self.engine.logprobs(branches)

    def _rewards(self, values: PairValues | None) -> list[float]:
        """Sums over the pairs whose both sides are compared with the reference: chosen, rejected, won, how many; and
        how many pairs were put to another image."""
        if values is None:
            return [0.0] * 5
        known = values.complete & values.chosen.isfinite() & values.rejected.isfinite()
        chosen, rejected = self.settings.beta * values.chosen[known], self.settings.beta * values.rejected[known]
        numbers = (chosen.sum(), rejected.sum(), (chosen > rejected).sum(), known.sum(), values.contrasted.sum())
        return [number.item() for number in numbers]

    def _nothing(self, model: Any) -> Tensor:
        """A loss of 0 that reaches every trained weight."""
        shortest = min((pair.chosen for group in self.groups for pair in group), key=lambda b: len(b.prompt))
        loss = self.engine.logprobs([shortest], model).values.sum() * 0.0
        if self.settings.method == "preference" and self.objective.spreads:
            self._frozen([shortest])
        return loss

    @contextmanager
    def _held_back(self, model: Any) -> Iterator[None]:
        """Gradients stay on this process until a later pass."""
        state, before = self.accelerator.gradient_state, self.accelerator.sync_gradients
        state._set_sync_gradients(False)
        try:
            with self.accelerator.no_sync(model):
                yield
        finally:
            state._set_sync_gradients(before)

    def _halve(self, error: Exception) -> None:
        tokens = self.engine.max_tokens
        if self._halved or self.args.world_size > 1:
            again = "again " if self._halved else ""
            raise TrainingError(f"out of memory {again}with engine.max_tokens={tokens}; {ADVICE}") from error
        self._halved = True
        self.engine.max_tokens = tokens // 2
        clear_device_cache(garbage_collection=True)
        self.message(f"out of memory with engine.max_tokens={tokens}: going on with {tokens // 2}")

    def _write_note(self, total: int) -> None:
        """Logs the optimizer step; the trainer's own entry averages since the last one, across a resume."""
        noted: list[float] = self.accelerator.reduce(self._noted.to(self.args.device), reduction="sum").tolist()
        self._noted = torch.zeros_like(self._noted)
        loss, chosen, rejected, won, computed, contrasted = noted
        entry = {"step": self.state.global_step, "loss": loss / max(total, 1)}
        if self.settings.method == "preference" and computed:
            entry["chosen_reward"], entry["rejected_reward"] = chosen / computed, rejected / computed
            entry["reward_accuracy"] = won / computed
        if self.contrast is not None:
            entry["contrasted"] = contrasted / max(total, 1)
        self.state.log_history.append(entry)
        if self.args.report_to:
            self.callback_handler.on_log(self.args, self.state, self.control, logs=entry)


def training_arguments(settings: TrainSettings, folder: Path, seed: int, device: str) -> TrainingArguments:
    """Our settings in the terms of transformers."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_groups,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_gradient_norm,
        activation_checkpointing=settings.activation_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if settings.activation_checkpointing else None,
        logging_steps=5,
        save_strategy="steps",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        # Features are computed outside the wrapped forward pass; the tower's last layers may go unused.
        ddp_find_unused_parameters="vision_tower" in settings.parts,
        seed=seed,
        data_seed=seed,
        use_cpu=device == "cpu",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=list(settings.report_to),
        log_level="error",
        # Answers of weight zero or a probe must not hide a loss that is not a number.
        logging_nan_inf_filter=False,
    )
    # A process takes one GPU, whatever it sees: the trainer would spread each packed pass over all of them.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


class _Progress(TrainerCallback):
    """Moves our progress line in place of the trainer's own bar."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimizer step is done."""
        self.advance(state.global_step, state.max_steps)


class _Stages(TrainerCallback):
    """Refuses, as soon as their number is known, steps that leave a term out altogether."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **kwargs: Any) -> None:
        """The steps are counted, and none is taken."""
        self.objective.check_stages(state.max_steps)
