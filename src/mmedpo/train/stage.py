"""The `train` stage: reference once, adapter on the language model, watched, resumable."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmedpo.engine import Branch, FeatureStore, build_branch, logprobs_in_batches
from mmedpo.errors import TrainingCollapsed, TrainingError
from mmedpo.imaging.images import read_image
from mmedpo.models.hub import attach_adapter, checkpoint_hash, load_model
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Drop, Example, PreferencePair
from mmedpo.run import Run
from mmedpo.seeds import derive_seed
from mmedpo.tables import write_text
from mmedpo.train.groups import BranchPair, group_pairs
from mmedpo.train.looks import LOGPROB, SCORE, best_look, collapse, watch_log
from mmedpo.train.reference import (
    ReferenceLogprobs,
    compute_reference,
    distinct_branches,
    load_reference,
    reference_key,
    save_reference,
)
from mmedpo.train.trainer import (
    PreferenceTrainer,
    last_complete_checkpoint,
    training_arguments,
)
from mmedpo.train.watch import Watch

GenerationProbe = Callable[[VisionLanguageModel, FeatureStore, Sequence[Example]], Mapping[str, float]]
"""Answers the questions with the current model and gives `probe_score` (0..1) and what it is made of."""

ADAPTER = "adapter"
LOG = "train/log.json"
REFERENCE = "reference/logprobs.safetensors"


def train(run: Run, generation_probe: GenerationProbe) -> Path:
    """Tunes the target model on the scored pairs; returns the adapter's folder.

    Args:
        run: reads `examples.parquet` and `pairs.parquet`; writes `reference/`, `train/log.json` and
            `adapter/`.
        generation_probe: how answers to validation questions are scored (given by the caller,
            because scoring belongs to another room).

    Raises:
        TrainingError: nothing to train on, or pairs that do not fit the model.
        TrainingCollapsed: the policy degenerated; the log is kept, no adapter is written.
    """
    settings = run.settings.train
    pairs = run.read("pairs.parquet", PreferencePair)
    if settings.method == "sft":
        pairs = _one_pair_per_example(pairs)
    vlm = load_model(run.target_model)
    features = FeatureStore(vlm, lambda path: read_image(path.parent, path.name))
    groups = group_pairs(vlm, pairs, run.image_root, run.path, settings.max_length)
    branches = distinct_branches(b for group in groups for pair in group for b in (pair.chosen, pair.rejected))
    features.preload([branch.view for branch in branches], run.track("image features"))
    reference = _reference(run, vlm, features, branches) if settings.method == "preference" else {}
    probe = _probe(run, vlm, features, generation_probe)
    attach_adapter(vlm, settings.lora, derive_seed(run.settings.seed, "adapter") % 2**31)
    history = _optimise(run, vlm, groups, reference, features, probe)
    write_text(run.file(LOG), json.dumps(history, indent=1))
    looks = watch_log(history)
    degenerate = collapse(looks, settings.watch)
    if degenerate:
        raise TrainingCollapsed(
            f"{degenerate}; training stopped. Lower train.learning_rate (now {settings.learning_rate:g}), raise "
            f"train.beta, or add text pairs; the log is in {run.file(LOG)}"
        )
    drops = [Drop(stage="train", item=pair.pair_id, reason="weight-zero") for pair in pairs if pair.weight == 0]
    run.write_drops(drops)
    _keep(run, settings.watch.keep)
    best = best_look(looks)
    if best is not None and best[SCORE] <= looks[0][SCORE]:
        run.message("no look at the validation probe was better than the start: expect no gain")
    return run.file(ADAPTER)


def _one_pair_per_example(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """SFT sees each ground truth once, whatever pairs were made from it."""
    first: dict[str, PreferencePair] = {}
    for pair in pairs:
        first.setdefault(pair.example_id, pair)
    return list(first.values())


def _reference(
    run: Run, vlm: VisionLanguageModel, features: FeatureStore, branches: Sequence[Branch]
) -> ReferenceLogprobs:
    key = reference_key(checkpoint_hash(run.target_model.name), run.settings.model.dtype, branches)
    path = run.file(REFERENCE)
    partial = run.work_folder / "reference.safetensors"
    if partial.exists():
        return load_reference(partial, branches, key)
    reference = compute_reference(vlm, branches, features, run.track("reference log-probs"))
    save_reference(partial, reference, branches, key)
    path.parent.mkdir(exist_ok=True)
    shutil.copyfile(partial, path)
    return reference


def _probe(
    run: Run, vlm: VisionLanguageModel, features: FeatureStore, generation_probe: GenerationProbe
) -> Callable[[], Mapping[str, float]]:
    """Measures log pi(y_w) and generation on a fixed set of validation questions."""
    settings = run.settings.train
    every = [example for example in run.read("examples.parquet", Example) if example.split == "validation"]
    questions = [example for example in every if example.answer_type != "report"]
    questions.sort(key=lambda example: derive_seed(0, "probe", example.example_id))
    questions = questions[: settings.watch.questions]
    if not questions:
        raise TrainingError("the validation split has no closed or open question; training cannot be watched")
    branches = [
        build_branch(
            vlm,
            run.image_root / example.image.path,
            example.question,
            example.answer,
            max_length=settings.max_length,
            owner=example.example_id,
        )
        for example in questions
    ]
    features.preload(branch.view for branch in branches)

    def measure() -> Mapping[str, float]:
        result = logprobs_in_batches(vlm, branches, features, batch_size=64)
        per_token = float(result.total.sum() / result.tokens.sum())
        return {LOGPROB: per_token, **generation_probe(vlm, features, questions)}

    return measure


def _optimise(
    run: Run,
    vlm: VisionLanguageModel,
    groups: Sequence[Sequence[BranchPair]],
    reference: ReferenceLogprobs,
    features: FeatureStore,
    probe: Callable[[], Mapping[str, float]],
) -> list[dict[str, Any]]:
    settings = run.settings.train
    folder = run.work_folder / "checkpoints"
    trainer = PreferenceTrainer(
        vlm=vlm,
        groups=groups,
        reference=reference,
        features=features,
        settings=settings,
        arguments=training_arguments(settings, folder, run.settings.seed, vlm.device.type),
        watch=Watch(probe, settings.watch, run.work_folder / "best"),
        advance=run.track("training"),
    )
    resume = last_complete_checkpoint(folder)
    if resume:
        run.message(f"resuming from {resume.name}")
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    vlm.model.save_pretrained(str(run.work_folder / "last"))
    return [_repeatable(entry) for entry in trainer.state.log_history]


def _repeatable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A log entry without what differs from run to run: speeds, and averages that start anew on resume."""
    idle = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}
    if "learning_rate" in entry:
        idle.add("loss")
    return {key: value for key, value in entry.items() if key not in idle}


def _keep(run: Run, which: str) -> None:
    """Puts the chosen adapter in place, whole."""
    target, staging = run.file(ADAPTER), run.file(f".{ADAPTER}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    shutil.copytree(run.work_folder / which, staging, ignore=shutil.ignore_patterns("README.md"))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(staging, target)
