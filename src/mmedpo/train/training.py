"""Preference tuning: reference once, adapter on the model, watched, resumable, on one process or several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from accelerate import PartialState
from torch import Tensor

from mmedpo.engine import Asked, Branch, Engine, FeatureStore, ReferenceCache, build_branch
from mmedpo.errors import TrainingCollapsed, TrainingError
from mmedpo.imaging.pictures import image_files, read_image_file
from mmedpo.models.checkpoints import checkpoint_hash
from mmedpo.models.generation import Decoding
from mmedpo.models.hub import make_trainable
from mmedpo.models.saving import save_processors
from mmedpo.models.slots import load_start
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import BlindPair, Drop, Example, FactorValue, PreferencePair
from mmedpo.records.looks import LOGPROB, SCORE, best_look, watch_log
from mmedpo.run import BASE, Run
from mmedpo.run.layout import BLIND, EXAMPLES, FACTORS, LOG, PAIRS, REFERENCE
from mmedpo.run.slots import Slot
from mmedpo.seeds import derive_seed
from mmedpo.storage.files import hash_path, move
from mmedpo.storage.tables import write_text
from mmedpo.train.blind import blind_pairs
from mmedpo.train.checkpoints import last_complete_checkpoint, logged
from mmedpo.train.contrast import Contrast, contrast_of
from mmedpo.train.groups import Group, Kept, branches_of, families, group_pairs
from mmedpo.train.looks import collapse
from mmedpo.train.objectives import Objective
from mmedpo.train.rewards import rewarded
from mmedpo.train.splitting import check_launch, check_splitting
from mmedpo.train.trainer import (
    PreferenceTrainer,
    training_arguments,
)
from mmedpo.train.watch import Watch
from mmedpo.train.weighing import weigh


class GenerationProbe(Protocol):
    """What a look makes of the current model's answers to validation questions."""

    def decoding(self, examples: Sequence[Example]) -> Decoding:
        """How they are answered."""
        ...

    def score(self, examples: Sequence[Example], answers: Sequence[str]) -> Mapping[str, float]:
        """`probe_score` (0..1, higher is better), and what it is made of."""
        ...


LOGPROBS = f"{REFERENCE}/logprobs.safetensors"


def train(run: Run, generation_probe: GenerationProbe) -> Path:
    """Tunes the target model on the scored pairs; returns the folder of the result.

    Started by torchrun or accelerate, every process calls it; process 0 alone writes.

    Args:
        run: reads `examples.parquet` and `pairs.parquet`; writes `reference/`, `train/log.json` and
            `adapter/` (or `tuned/`, a whole checkpoint, where all weights are trained).
        generation_probe: how answers to validation questions are scored (given by the caller,
            because scoring belongs to another room).

    Raises:
        TrainingError: nothing to train on, or pairs that do not fit the model.
        TrainingCollapsed: the policy degenerated; the log is kept, no adapter is written.
    """
    settings = run.settings.train
    check_launch()
    state = PartialState(cpu=run.settings.model.device == "cpu")
    state.wait_for_everyone()
    every_pair = run.read(PAIRS, PreferencePair)
    pairs = _one_pair_per_example(every_pair) if settings.method == "sft" else every_pair
    vlm = load_start(run.model)
    vlm.trained = frozenset(settings.parts)
    preference = settings.method == "preference"
    objective = Objective(settings.objective, settings.beta)
    groups = _groups(run, vlm, pairs, objective)
    contrast = _contrast(run, vlm, pairs, groups, objective) if preference else None
    engine = _engine(run, vlm, run.model)
    every = [pair for group in groups for pair in group]
    engine.features.preload_together(
        [view for branch in branches_of(every) for view in branch.views],
        state.process_index,
        state.num_processes,
        state.wait_for_everyone,
        run.track("image features"),
    )
    check_splitting(engine.features.place, vlm.trained, preference and objective.draws)
    _settle(run, engine, groups)
    reference = _reference(run, engine, groups, objective, state) if preference and objective.refers else {}
    groups = _weighed(run, engine, groups, state)
    groups = rewarded(engine, groups) if preference and objective.rewards else groups
    _look_blindly(run, engine, every_pair, state)
    probe = _probe(run, engine, generation_probe)
    make_trainable(vlm, settings, derive_seed(run.settings.seed, "adapter") % 2**31)
    _settle(run, engine, groups)
    history = _optimise(run, engine, groups, reference, probe, contrast)
    if state.is_main_process:
        _finish(run, vlm, pairs, history)
    state.wait_for_everyone()
    return run.file(settings.result)


def _groups(
    run: Run, vlm: VisionLanguageModel, pairs: Sequence[PreferencePair], objective: Objective
) -> Sequence[Group]:
    settings = run.settings.train
    return group_pairs(
        vlm,
        pairs,
        run.image_root,
        run.path,
        max_length=settings.max_length,
        kept=Kept.of(settings, run.settings.seed),
        edited_token_weight=settings.edited_token_weight,
        wanted=objective.wanted(run.work_folder / "composites"),
    )


def _weighed(run: Run, engine: Engine, groups: Sequence[Group], state: PartialState) -> Sequence[Group]:
    """The pairs with their weights times the factors that a recipe asks for; these are written apart."""
    settings = run.settings.train
    if not settings.factors:
        return groups

    def cache_of(name: str) -> ReferenceCache:
        file = run.work_folder / f"factor-{name}-{state.process_index}.safetensors"
        return ReferenceCache(file, _weights(run, run.model))

    bounds, seed = settings.factor_bounds, run.settings.seed
    weighed, factors = weigh(engine, groups, settings.factors, bounds, seed, run.track, cache_of)
    if state.is_main_process:
        run.write(FACTORS, FactorValue, factors)
    return weighed


def _look_blindly(run: Run, engine: Engine, pairs: Sequence[PreferencePair], state: PartialState) -> None:
    """What the untuned model makes of the text pairs without their images; process 0 alone, for it is little."""
    if not state.is_main_process:
        return
    cache = ReferenceCache(run.work_folder / "blind.safetensors", _weights(run, run.model))
    advance = run.track("pairs without their images")
    found = blind_pairs(engine, pairs, run.settings.train.max_length, cache, advance)
    if found:
        run.write(BLIND, BlindPair, found)


def _contrast(
    run: Run,
    vlm: VisionLanguageModel,
    pairs: Sequence[PreferencePair],
    groups: Sequence[Group],
    objective: Objective,
) -> Contrast | None:
    """What puts questions to other images, where a term asks for it; refuses terms that look at nothing."""
    settings = run.settings.train
    every = [pair for group in groups for pair in group]
    if not objective.contrasts:
        objective.check(every)
        return None
    contrast = contrast_of(vlm, pairs, run.read(EXAMPLES, Example), run.image_root, settings.max_length)
    # In some step, each of these meets an image that it can be put to.
    objective.check([replace(pair, other=pair.chosen) if contrast.fits(pair) else pair for pair in every])
    return contrast


def _finish(
    run: Run, vlm: VisionLanguageModel, pairs: Sequence[PreferencePair], history: Sequence[Mapping[str, Any]]
) -> None:
    """Writes log, drops and result; refuses a collapsed one."""
    settings = run.settings.train
    # Sorted: a log that went through a checkpoint has its keys in another order.
    write_text(run.file(LOG), json.dumps(history, indent=1, sort_keys=True))
    looks = watch_log(history)
    degenerate = collapse(looks, settings.watch)
    if degenerate:
        raise TrainingCollapsed(
            f"{degenerate}; training stopped. Lower train.learning_rate (now {settings.learning_rate:g}), raise "
            f"train.beta, or add text pairs; the log is in {run.file(LOG)}"
        )
    drops = [Drop(stage="train", item=pair.pair_id, reason="weight-zero") for pair in pairs if pair.weight == 0]
    run.write_drops(drops)
    _keep(run, vlm)
    best = best_look(looks)
    if best is not None and best[SCORE] <= looks[0][SCORE]:
        run.message("no look at the validation probe was better than the start: expect no gain")


def _one_pair_per_example(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """SFT sees each ground truth once, whatever pairs were made from it."""
    first: dict[str, PreferencePair] = {}
    for pair in pairs:
        first.setdefault(pair.example_id, pair)
    return list(first.values())


def _engine(run: Run, vlm: VisionLanguageModel, slot: Slot) -> Engine:
    features = FeatureStore(
        vlm,
        read_image_file,
        folder=run.work_folder / f"features-{slot.name}",
        place=run.settings.engine.features,
        identity=_weights(run, slot),
    )
    return Engine.from_settings(vlm, features, run.settings)


def _weights(run: Run, slot: Slot) -> str:
    """Identity of the weights of a model and of the arithmetic they are used in."""
    settings = run.settings.model
    arithmetic = settings.dtype + ("+autocast" if settings.autocast else "")
    earlier = [hash_path(result) for result in slot.results]
    return "-".join((checkpoint_hash(slot.checkpoint.name), *earlier, arithmetic))


def _reference_slot(run: Run) -> Slot:
    """pi_0: the model that the training starts from, or that of the first round."""
    return run.model if run.settings.train.reference == "previous" else run.slot(BASE)


def _referred(run: Run, engine: Engine, groups: Sequence[Group]) -> Engine:
    """The engine of pi_0: that of the policy, which is not trained yet, where they are the same model."""
    slot = _reference_slot(run)
    if slot == run.model:
        return engine
    other = _engine(run, load_start(slot), slot)
    _settle(run, other, groups)
    return other


def _reference(
    run: Run, engine: Engine, groups: Sequence[Group], objective: Objective, state: PartialState
) -> Mapping[Branch, Tensor]:
    """log pi_0 of every branch that is compared: each process computes a share, and all read the shares of all."""
    branches = list(dict.fromkeys(branch for group in groups for pair in group for branch in objective.compared(pair)))
    weights = _weights(run, _reference_slot(run))
    shares = [
        run.work_folder / f"reference-{rank}-of-{state.num_processes}.safetensors"
        for rank in range(state.num_processes)
    ]
    own = ReferenceCache(shares[state.process_index], weights)
    size = -(-len(branches) // state.num_processes)
    own.fill(
        _referred(run, engine, groups),
        branches[state.process_index * size : (state.process_index + 1) * size],
        run.track("reference log-probs"),
    )
    state.wait_for_everyone()
    for share in shares:
        own.merge(ReferenceCache(share, weights))
    if state.is_main_process:
        run.file(REFERENCE).mkdir(parents=True, exist_ok=True)
        own.save(run.file(LOGPROBS))
    return own.take(branches)


def _settle(run: Run, engine: Engine, groups: Sequence[Group]) -> None:
    """Compares packed and plain on the first pairs that share something, before the run relies on it: before anything
    is measured, and once more with the gradients of what is trained.
    """
    first = families([pair for group in groups[: run.settings.train.batch_groups] for pair in group])
    packing = run.settings.engine.packing
    engine.settle(branches_of(first[0]), strict=packing == "strict", message=run.message)


def _probe(run: Run, engine: Engine, generation_probe: GenerationProbe) -> Callable[[], Mapping[str, float]]:
    """Measures log pi(y_w) and generation on a fixed set of validation questions."""
    settings = run.settings.train
    every = [example for example in run.read(EXAMPLES, Example) if example.split == "validation"]
    questions = [example for example in every if example.answer_type != "report"] or every
    questions.sort(key=lambda example: derive_seed(0, "probe", example.example_id))
    questions = questions[: settings.watch.questions]
    if not questions:
        raise TrainingError("the validation split is empty; training cannot be watched: give it a share of the data")
    branches = [
        build_branch(
            engine.vlm,
            image_files(run.image_root, example.images),
            example.question,
            example.answer,
            max_length=settings.max_length,
            owner=example.example_id,
        )
        for example in questions
    ]
    engine.features.preload(view for branch in branches for view in branch.views)

    asked = [Asked.of(example, run.image_root) for example in questions]

    def measure() -> Mapping[str, float]:
        truths, answers = engine.measure_and_answer(branches, asked, generation_probe.decoding(questions))
        scores = generation_probe.score(questions, [answer.text for answer in answers])
        return {LOGPROB: float(truths.values.mean()), **scores}

    return measure


def _optimise(
    run: Run,
    engine: Engine,
    groups: Sequence[Group],
    reference: Mapping[Branch, Tensor],
    probe: Callable[[], Mapping[str, float]],
    contrast: Contrast | None,
) -> list[dict[str, Any]]:
    settings = run.settings.train
    folder = run.work_folder / "checkpoints"
    trainer = PreferenceTrainer(
        engine=engine,
        groups=groups,
        reference=reference,
        settings=settings,
        arguments=training_arguments(settings, folder, run.settings.seed, engine.vlm.device.type),
        watch=Watch(probe, settings.watch, run.work_folder / "best"),
        advance=run.track("training"),
        message=run.message,
        contrast=contrast,
    )
    resume = last_complete_checkpoint(folder)
    if resume:
        run.message(f"resuming from {resume.name}")
        history = logged(resume)
        if collapse(watch_log(history), settings.watch):
            # It ended there, and ends there again: the next look might find a model that answers by chance.
            return [_repeatable(entry) for entry in history]
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    trainer.save_model(str(run.work_folder / "last"))
    return [_repeatable(entry) for entry in trainer.state.log_history]


def _repeatable(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A log entry without what differs from run to run: speeds, and averages that start anew on resume."""
    idle = {"train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos", "train_loss"}
    if "learning_rate" in entry:
        idle.add("loss")
    return {key: value for key, value in entry.items() if key not in idle}


def _keep(run: Run, vlm: VisionLanguageModel) -> None:
    """Puts the chosen result in place, whole."""
    settings = run.settings.train
    target, staging = run.file(settings.result), run.work_folder / settings.result
    shutil.rmtree(staging, ignore_errors=True)
    # The trainer leaves its arguments beside the weights, pickled: nothing anybody should load.
    idle = shutil.ignore_patterns("README.md", "training_args.bin")
    shutil.copytree(run.work_folder / settings.watch.keep, staging, ignore=idle)
    config = staging / "adapter_config.json"
    if config.exists():
        config.write_text(_repeatable_config(config.read_text()))
    if settings.tune == "full":
        save_processors(vlm, staging)
    move(staging, target)


def _repeatable_config(text: str) -> str:
    """An adapter's configuration with its sets in order: peft writes them as they happen to lie in memory."""
    content = json.loads(text)
    for name, value in content.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            content[name] = sorted(value)
    return json.dumps(content, indent=2, sort_keys=True)
