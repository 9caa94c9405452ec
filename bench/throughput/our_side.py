"""Our own side of the comparison: the product's engine and trainer, as `mmedpo train` runs them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from bench.throughput.clock import StepClock
from bench.throughput.side import Memory, Options, SideResult, synchronize, versions
from bench.throughput.workloads import Pair, Workload
from mmedpo.config import EngineSettings, LoraSettings, ModelSettings, TrainSettings
from mmedpo.engine import Engine, FeatureStore, ReferenceCache, build_branch
from mmedpo.engine.logprobs import layout_of
from mmedpo.models.hub import load_model, make_trainable
from mmedpo.train.groups import BranchPair, branches_of, families
from mmedpo.train.sampler import StepLoader, StepSampler
from mmedpo.train.trainer import PreferenceTrainer, training_arguments

MAX_TOKENS = EngineSettings().max_tokens
"""The product's default."""


class _InOrder(StepSampler):
    """Groups in the order given, as on TRL's side."""

    def __iter__(self) -> Any:
        for start in range(0, len(self.tokens), self.size):
            yield list(range(start, min(start + self.size, len(self.tokens))))


class _Trainer(PreferenceTrainer):
    """The product's trainer with the rows in order, counting the tokens it feeds."""

    def get_train_dataloader(self) -> StepLoader:
        return StepLoader(_InOrder([1] * len(self.groups), self.settings.batch_groups, 0))


def _settings(workload: Workload, checkpointing: bool, options: Options) -> TrainSettings:
    return TrainSettings(
        beta=options.beta,
        learning_rate=options.learning_rate,
        lora=LoraSettings(rank=options.rank, alpha=options.alpha),
        epochs=1.0,
        batch_groups=sum(workload.questions),
        schedule="constant_with_warmup",
        warmup_ratio=0.0,
        max_gradient_norm=options.max_grad_norm,
        activation_checkpointing=checkpointing,
        max_length=2048,
    )


def run(
    folder: Path, workload: Workload, *, steps: int, checkpointing: bool, device: str, options: Options
) -> SideResult:
    """Trains `steps` optimizer steps of the workload with the engine and measures them."""
    kept = ModelSettings(name=str(folder), dtype=options.dtype, device=device)
    vlm = load_model(kept.model_copy(update={"quantise": "nf4" if options.quantised else "none"}))
    settings = _settings(workload, checkpointing, options)
    features = FeatureStore(vlm, lambda path: workload.pixels(path.name))
    engine = Engine(vlm, features, MAX_TOKENS)
    with tempfile.TemporaryDirectory() as scratch:
        groups = _groups(vlm, workload, steps, Path(scratch))
        branches = branches_of([pair for group in groups for pair in group])
        memory = Memory(device)
        started = time.perf_counter()
        features.preload(view for branch in branches for view in branch.views)
        reference = ReferenceCache(Path(scratch) / "reference.safetensors", "weights")
        reference.keys._images = {view: view.name for branch in branches for view in branch.views}
        reference.fill(engine, branches)
        values = reference.take(branches)
        synchronize(device)
        once = time.perf_counter() - started
        make_trainable(vlm, settings, options.seed)
        clock = StepClock(device)
        trainer = _Trainer(
            engine=engine,
            groups=groups,
            reference=values,
            settings=settings,
            arguments=training_arguments(settings, Path(scratch), options.seed, vlm.device.type),
            advance=lambda done, total: None,
            message=print,
        )
        trainer.add_callback(clock)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "chosen_reward" in entry]
    return SideResult(
        losses=losses,
        seconds=clock.seconds,
        tokens=[_tokens(engine, groups, step, sum(workload.questions)) for step in range(steps)],
        once_seconds=once,
        peak_memory=memory.peak(),
        memory_before=memory.before,
        settings="mmedpo train, pairs of a question together, defaults (packing on), reference and features once",
        versions=versions("torch", "transformers", "peft", "accelerate", "mmedpo"),
    )


def _groups(vlm: Any, workload: Workload, steps: int, pictures: Path) -> list[list[BranchPair]]:
    """The pairs of each question, their pictures written to a folder: a family may ask for their size."""
    groups = []
    for step in workload.steps(steps):
        for image in {name for pair in step for name in (pair.image, pair.rejected_image)}:
            Image.fromarray(workload.pixels(image)).save(pictures / image, format="BMP")
        width = 2 if workload.visual else 1
        for start in range(0, len(step), width):
            groups.append([_pair(vlm, pair, f"{len(groups)}", pictures) for pair in step[start : start + width]])
    return groups


def _pair(vlm: Any, pair: Pair, owner: str, pictures: Path) -> BranchPair:
    def branch(image: str, answer: str) -> Any:
        return build_branch(vlm, [pictures / image], pair.question, answer, max_length=2048, owner=owner)

    kind = "text" if pair.image == pair.rejected_image else "visual"
    return BranchPair(
        f"{owner}/{kind}",
        kind,
        branch(pair.image, pair.chosen),
        branch(pair.rejected_image, pair.rejected),
        pair.weight,
    )


def _tokens(engine: Engine, groups: list[list[BranchPair]], step: int, size: int) -> int:
    pairs = [pair for group in groups[step * size : (step + 1) * size] for pair in group]
    units = [branches_of(family) for family in families(pairs)]
    total = 0
    for part in engine.bins(units):
        asked = list(dict.fromkeys(branch for number in part for branch in units[number]))
        total += layout_of(engine.vlm, asked).columns
    return total
