"""The `finetune` stage: supervised fine-tuning before curation; its result is the base of the run."""

from __future__ import annotations

import shutil

from mmedpo.errors import TrainingError
from mmedpo.imaging.images import read_image
from mmedpo.models.hub import load_model
from mmedpo.models.tiny.architecture import save_checkpoint
from mmedpo.models.tiny.pretrain import (
    PretrainSettings,
    QuestionedImage,
    pretrain_language,
)
from mmedpo.records import Example
from mmedpo.run import Run
from mmedpo.run.layout import EXAMPLES, FINETUNED
from mmedpo.seeds import derive_seed
from mmedpo.storage.files import move


def finetune(run: Run) -> None:
    """Fine-tunes projector and language model (tower frozen) on the training questions.

    All questions of an image form one sequence. Writes the checkpoint folder `finetuned/`, which
    curation samples from and preference tuning takes as policy and reference.
    """
    settings = run.settings.finetune
    assert settings is not None
    vlm = load_model(run.settings.model)
    of_image: dict[str, list[Example]] = {}
    for example in run.read(EXAMPLES, Example):
        if example.split == "train":
            of_image.setdefault(example.image.path, []).append(example)
    if len(of_image) < settings.batch_images:
        raise TrainingError(
            f"{len(of_image)} training images, fewer than finetune.batch_images={settings.batch_images}; lower it"
        )
    images = [
        QuestionedImage(
            read_image(run.image_root, path), tuple((example.question, example.answer) for example in examples)
        )
        for path, examples in of_image.items()
    ]
    loss = pretrain_language(
        vlm,
        images,
        PretrainSettings(
            language_epochs=settings.epochs,
            language_rate=settings.learning_rate,
            language_batch=settings.batch_images,
            seed=derive_seed(run.settings.seed, "finetune") % 2**31,
        ),
        run.track("supervised fine-tuning"),
    )
    staging = run.work_folder / FINETUNED
    shutil.rmtree(staging, ignore_errors=True)
    save_checkpoint(vlm.model, vlm.tokenizer, staging, dtype=run.settings.model.dtype)
    move(staging, run.file(FINETUNED))
    run.message(f"fine-tuned on {sum(map(len, of_image.values()))} questions, loss {loss:.3f} per answer token")
