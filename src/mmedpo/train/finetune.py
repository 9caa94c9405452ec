"""The `finetune` stage: supervised fine-tuning before curation; its result is the base of the run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from mmedpo.config import FinetuneSettings
from mmedpo.engine import Branch, Engine, FeatureStore, build_branch
from mmedpo.errors import TrainingError
from mmedpo.imaging.pictures import image_files, read_image_file
from mmedpo.models.checkpoints import checkpoint_hash
from mmedpo.models.descent import OneCycle
from mmedpo.models.hub import load_model, make_trainable
from mmedpo.models.saving import save_model
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.progress import Advance
from mmedpo.records import ASK, Example
from mmedpo.run import Run
from mmedpo.run.layout import EXAMPLES, FINETUNED
from mmedpo.seeds import derive_seed
from mmedpo.storage.files import move

WEIGHT_DECAY = 0.01


def finetune(run: Run) -> None:
    """Fine-tunes projector and language model (tower frozen) on the training questions.

    All questions on an image are computed together. Writes the checkpoint folder `finetuned/`, an adapter merged
    into it, which curation samples from and preference tuning takes as policy and reference. A killed run goes on
    from its last checkpoint.

    Raises:
        TrainingError: too few images, or a question that does not fit the model.
    """
    settings = run.settings.finetune
    assert settings is not None
    vlm = load_model(run.settings.model)
    examples = [example for example in run.read(EXAMPLES, Example) if example.split == "train"]
    units = _units(run, vlm, examples)
    seed = derive_seed(run.settings.seed, "finetune") % 2**31
    training = settings.as_training(vlm.context_length)
    make_trainable(vlm, training, seed)
    if training.activation_checkpointing:
        vlm.model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    features = FeatureStore(
        vlm,
        read_image_file,
        folder=run.work_folder / "features",
        place=run.settings.engine.features,
        identity=checkpoint_hash(run.settings.model.name),
    )
    engine = Engine.from_settings(vlm, features, run.settings)
    shown = [view for unit in units for branch in unit for view in branch.views]
    features.preload(shown, run.track("image features"))
    engine.settle(units[0][:8], strict=run.settings.engine.packing == "strict", message=run.message)
    # For an adapter's dropout and for recomputing; what the checkpoint itself says of dropout is for its pretraining.
    vlm.model.train(training.tune == "lora" or training.activation_checkpointing)
    unfinished = run.work_folder / "unfinished.safetensors"
    if unfinished.exists():
        run.message("fine-tuning goes on from its last checkpoint")
    loss = fit(engine, units, settings, seed, run.track("supervised fine-tuning"), unfinished)
    if settings.lora is not None:
        vlm.model = vlm.model.merge_and_unload()
    staging = run.work_folder / FINETUNED
    shutil.rmtree(staging, ignore_errors=True)
    save_model(vlm, staging, run.settings.model.dtype)
    move(staging, run.file(FINETUNED))
    run.message(f"fine-tuned on {len(examples)} questions, loss {loss:.3f} per token learnt")


def _units(run: Run, vlm: VisionLanguageModel, examples: Sequence[Example]) -> list[list[Branch]]:
    """The distinct branches of each image.

    Raises:
        TrainingError: fewer images than a step takes.
    """
    settings = run.settings.finetune
    assert settings is not None
    of_image: dict[str, list[Branch]] = {}
    for example in examples:
        of_image.setdefault(example.image.path, []).extend(
            build_branch(
                vlm,
                image_files(run.image_root, example.images),
                told,
                wanted,
                max_length=vlm.context_length,
                owner=example.example_id,
            )
            for told, wanted in lessons(example, settings)
        )
    if len(of_image) < settings.batch_images:
        raise TrainingError(
            f"{len(of_image)} training images, fewer than finetune.batch_images={settings.batch_images}; lower it"
        )
    return [list(dict.fromkeys(branches)) for branches in of_image.values()]


def lessons(example: Example, settings: FinetuneSettings) -> list[tuple[str, str]]:
    """What is learnt of one example: (what the model is told, what it is to say).

    Args:
        example: a training question.
        settings: whether it learns to ask as well.
    """
    asked = [(ASK, example.question)] if settings.questions else []
    return [(example.question, example.answer), *asked]


def fit(
    engine: Engine,
    units: Sequence[Sequence[Branch]],
    settings: FinetuneSettings,
    seed: int,
    advance: Advance,
    unfinished: Path,
) -> float:
    """Descends the mean loss of all answer tokens of `settings.batch_images` units at a time.

    Args:
        engine: of the model, whose trained weights want gradients.
        units: the distinct branches of each image.
        settings: passes, rate, batch.
        seed: of the order, and of what dropout leaves out.
        advance: told of every step.
        unfinished: file of the last checkpoint, which is gone on from where it is there.

    Returns:
        Mean loss per answer token in the last epoch, nats.

    Raises:
        TrainingError: the checkpoint is damaged.
    """
    steps = len(units) // settings.batch_images
    total = steps * settings.epochs
    trained = [parameter for parameter in engine.vlm.model.parameters() if parameter.requires_grad]
    descent = OneCycle(trained, settings.learning_rate, total, WEIGHT_DECAY)
    done, last = descent.load(unfinished) if unfinished.exists() else (0, [])
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(units), generator=generator).tolist()
        for step in range(max(0, done - epoch * steps), steps):
            number = epoch * steps + step
            # Whatever was drawn before, or in a process that was killed.
            torch.manual_seed(seed + number)
            chosen = order[step * settings.batch_images : (step + 1) * settings.batch_images]
            loss = _add_gradients(engine, [branch for image in chosen for branch in units[image]])
            descent.step()
            if epoch == settings.epochs - 1:
                last.append(loss)
            if (number + 1) % settings.checkpoint_every == 0 and number + 1 < total:
                descent.save(unfinished, last)
            advance(number + 1, total)
    return sum(last) / len(last)


def _add_gradients(engine: Engine, branches: Sequence[Branch]) -> float:
    """Adds the gradient of the mean loss per answer token, in as many passes as it takes; returns that loss."""
    tokens = sum(len(branch.response) for branch in branches)
    mean = 0.0
    for part in engine.bins([[branch] for branch in branches]):
        loss = -engine.logprobs([branches[number] for number in part]).values.sum() / tokens
        torch.autograd.backward(loss)
        mean += loss.item()
    return mean
