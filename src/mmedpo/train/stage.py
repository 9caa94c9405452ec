"""The stages `finetune` and `train`: what they are made from. Their work is loaded when it begins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mmedpo.config import RunSettings
from mmedpo.models.checkpoints import model_identity
from mmedpo.run import BASE, Run, Stage, picked
from mmedpo.run.layout import BLIND, EXAMPLES, FINETUNED, IMAGES, PAIRS, REFERENCE, TRAINING

if TYPE_CHECKING:
    from mmedpo.train.training import GenerationProbe


def finetune_stage(settings: RunSettings) -> Stage:
    """Supervised fine-tuning before curation."""

    content = {**picked(settings, "finetune", "seed"), **model_identity(settings.model)}
    return Stage("finetune", _finetune_whole, content, reads=(EXAMPLES,), writes=(FINETUNED,))


def stage(settings: RunSettings, model: str, probe_of: Callable[[Run], GenerationProbe]) -> Stage:
    """Preference tuning, or supervised fine-tuning on the same questions.

    Args:
        settings: the run's.
        model: the model of the run that is tuned, and the reference.
        probe_of: gives the generation probe, which belongs to another room; it scores by `evaluate.protocol`.
    """
    reference = (REFERENCE,) if settings.train.method == "preference" else ()
    return Stage(
        "train",
        partial(_train_whole, probe_of),
        {**picked(settings, "train", "seed", "evaluate.protocol"), **model_identity(settings.model)},
        reads=(EXAMPLES, PAIRS, IMAGES),
        writes=(TRAINING, settings.train.result),
        # An objective without a reference computes none; which does, only its losses know.
        may_write=(BLIND, *reference),
        models=(model,) if settings.train.reference == "previous" else (model, BASE),
    )


def _finetune_whole(run: Run) -> None:
    run.whole(_finetune)


def _finetune(run: Run) -> None:
    from mmedpo.train.finetune import finetune

    finetune(run)


def _train_whole(probe_of: Callable[[Run], GenerationProbe], run: Run) -> None:
    run.whole(partial(_train, probe_of))


def _train(probe_of: Callable[[Run], GenerationProbe], run: Run) -> None:
    from mmedpo.train.training import train

    train(run, probe_of(run))
