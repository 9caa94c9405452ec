"""How the checkpoint that ships in the package is trained, from scratch on phantoms, in three steps (see its card)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmedpo.progress import Reporter

DENSE_SEED, BALANCED_SEED, PRIOR_SEED = 50_000_000, 60_000_000, 70_000_000
"""First case seeds of the three corpora; the demo's splits hash theirs to far larger numbers."""


@dataclass(frozen=True)
class Schedule:
    """How much is seen in each step."""

    dense_images: int
    """Images with patch labels, for the vision tower (step 1)."""
    vision_epochs: int
    """Passes of step 1."""
    balanced_images: int
    """Balanced images with questions (step 2)."""
    balanced_epochs: int
    """Passes of step 2."""
    prior_images: int
    """Images with language priors, with questions (step 3)."""
    prior_epochs: int
    """Passes of step 3."""
    mismatched: float
    """Share of the images of step 3 that are swapped for others: text that ignores them."""
    prior_rate: float
    """Peak learning rate of step 3."""


def train_tiny(out: Path, schedule: Schedule, seed: int, after_step_2: Path | None, reporter: Reporter) -> None:
    """Trains the tiny Med-LVLM; the checkpoint of step 2 is kept in `out/step-2`.

    Args:
        out: folder the checkpoint is written to.
        schedule: how much is seen in each step.
        seed: seed of weights, order and cases.
        after_step_2: checkpoint of step 2 to go on from; None: from scratch.
        reporter: progress.
    """
    from mmedpo.models.tiny.architecture import build_tokenizer, save_checkpoint
    from mmedpo.models.tiny.pretrain import PretrainSettings, pretrain_language, pretrain_vision

    prior = _questioned(
        _cases(PRIOR_SEED + seed, schedule.prior_images, "training", reporter.track("images with priors"))
    )
    prior = _mismatch(prior, schedule.mismatched, seed)
    if after_step_2 is None:
        balanced = _questioned(
            _cases(BALANCED_SEED + seed, schedule.balanced_images, "balanced", reporter.track("balanced images"))
        )
        texts = [text for item in (*prior, *balanced) for pair in item.questions for text in pair]
        tokenizer = build_tokenizer([*texts, *_general_words()])
        vlm = _fresh_model(tokenizer, seed)
        dense = [
            _dense(case)
            for case in _cases(
                DENSE_SEED + seed, schedule.dense_images, "balanced", reporter.track("images with patch labels")
            )
        ]
        settings = PretrainSettings(
            vision_epochs=schedule.vision_epochs, language_epochs=schedule.balanced_epochs, seed=seed
        )
        loss = pretrain_vision(vlm, dense, settings, reporter.track("step 1, vision tower"))
        reporter.message(f"step 1: loss {loss:.4f} in the last epoch")
        loss = pretrain_language(vlm, balanced, settings, reporter.track("step 2, balanced questions"))
        reporter.message(f"step 2: loss {loss:.4f} per answer token in the last epoch")
        save_checkpoint(vlm.model, tokenizer, out / "step-2", dtype="float32")
    else:
        vlm = _load(after_step_2)
    settings = PretrainSettings(language_epochs=schedule.prior_epochs, language_rate=schedule.prior_rate, seed=seed)
    loss = pretrain_language(vlm, prior, settings, reporter.track("step 3, questions with priors"))
    reporter.message(f"step 3: loss {loss:.4f} per answer token in the last epoch")
    save_checkpoint(vlm.model, vlm.tokenizer, out)
    reporter.message(f"wrote {out}")


def _cases(first: int, count: int, priors: str, advance: Any) -> Sequence[Any]:
    from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, generate_case

    chosen = TRAINING_PRIORS if priors == "training" else BALANCED_PRIORS
    cases = []
    for index in range(count):
        cases.append(generate_case(first + index, chosen))
        advance(index + 1, count)
    return cases


def _questioned(cases: Sequence[Any]) -> list[Any]:
    from mmedpo.models.tiny.pretrain import QuestionedImage

    return [
        QuestionedImage(case.image, tuple((item.question, item.answer) for item in case.questions)) for case in cases
    ]


def _mismatch(images: Sequence[Any], share: float, seed: int) -> list[Any]:
    """Gives a share of the question sets the picture of another: what is left to learn there is the prior."""
    import dataclasses

    import numpy as np

    rng = np.random.default_rng([seed, 3])
    chosen = rng.permutation(len(images))[: round(share * len(images))]
    swapped = {int(index): images[int(chosen[(i + 1) % len(chosen)])].image for i, index in enumerate(chosen)}
    return [dataclasses.replace(item, image=swapped.get(index, item.image)) for index, item in enumerate(images)]


def _dense(case: Any) -> Any:
    """Patch labels: a finding lies in a patch when it covers an eighth of it, or when most of it lies there."""
    import numpy as np

    from mmedpo.data.phantom.priors import KINDS
    from mmedpo.models.tiny.architecture import IMAGE_SIZE, PATCH_SIZE
    from mmedpo.models.tiny.pretrain import DenseImage

    grid = IMAGE_SIZE // PATCH_SIZE
    # Classes are finding x half of the picture, so that the side lies in the patch's own features: a language
    # model that counts positions along one line can tell rows of patches apart, but hardly columns.
    patches = np.zeros((grid * grid, 2 * len(KINDS)), dtype=np.bool_)
    half = np.tile(np.arange(grid) >= grid // 2, grid)
    image_labels = np.zeros(3 * len(KINDS) + 12, dtype=np.bool_)
    for finding, mask in zip(case.findings, case.masks, strict=True):
        kind = KINDS.index(finding.kind)
        covered = mask.reshape(grid, PATCH_SIZE, grid, PATCH_SIZE).sum(axis=(1, 3)).reshape(-1)
        present = (covered >= PATCH_SIZE**2 / 8) | (covered >= 0.3 * max(mask.sum(), 1))
        patches[:, 2 * kind] = present & ~half
        patches[:, 2 * kind + 1] = present & half
        image_labels[kind] = True
        image_labels[len(KINDS) + kind] = finding.size == "large"
        image_labels[2 * len(KINDS) + kind] = finding.size == "small"
        if finding.kind == "nodule":
            image_labels[3 * len(KINDS) + min(finding.count, 3) - 1] = True
    base = 3 * len(KINDS) + 3
    image_labels[base + ["AP", "PA", "axial"].index(case.plane)] = True
    image_labels[base + 3 + ["x-ray", "CT", "MRI"].index(case.modality)] = True
    return DenseImage(case.image, patches, image_labels)


def _general_words() -> list[str]:
    """Words of radiology beyond the phantoms, so that real questions need few tokens."""
    from importlib import resources

    text = resources.files("mmedpo.models.tiny").joinpath("words.txt").read_text()
    return [f"{word}" for word in text.split() for _ in range(40)]


def _fresh_model(tokenizer: Any, seed: int) -> Any:
    import torch

    from mmedpo.models.families.llava import Llava
    from mmedpo.models.family import Loaded
    from mmedpo.models.tiny.architecture import build_image_processor, build_model
    from mmedpo.models.vlm import VisionLanguageModel

    torch.manual_seed(seed)
    model = build_model(tokenizer)
    name = "tiny (in training)"
    return VisionLanguageModel(model, Llava(Loaded(model, tokenizer, build_image_processor()), name), name)


def _load(folder: Path) -> Any:
    from mmedpo.config import ModelSettings
    from mmedpo.models.hub import load_model

    return load_model(ModelSettings(name=str(folder), device="cpu"))
