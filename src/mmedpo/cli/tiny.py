"""`mmedpo pretrain-tiny`: trains the checkpoint that ships in the package, from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

DENSE_SEED, LANGUAGE_SEED = 50_000_000, 60_000_000
"""First case seeds of the two corpora; far from those of the demo's splits."""


def pretrain_tiny(
    out: Annotated[Path, typer.Argument(help="Folder the checkpoint is written to.")],
    dense_images: Annotated[int, typer.Option(help="Images with patch labels, for the vision tower.")] = 6000,
    language_images: Annotated[int, typer.Option(help="Images with questions, for the language model.")] = 2500,
    vision_epochs: Annotated[int, typer.Option(help="Passes of step 1.")] = 16,
    language_epochs: Annotated[int, typer.Option(help="Passes of step 2.")] = 8,
    seed: Annotated[int, typer.Option(help="Seed of weights, order and cases.")] = 0,
    tower_from: Annotated[
        Path | None, typer.Option(help="Checkpoint whose trained vision tower is taken instead of step 1.")
    ] = None,
) -> None:
    """Train the tiny Med-LVLM from scratch on phantoms.

    Example: mmedpo pretrain-tiny build/tiny
    """
    from mmedpo.models.tiny.architecture import (
        build_model,
        build_tokenizer,
        save_checkpoint,
    )
    from mmedpo.models.tiny.pretrain import (
        PretrainSettings,
        pretrain_language,
        pretrain_vision,
    )
    from mmedpo.progress import LineReporter

    reporter = LineReporter()
    cases = _cases(LANGUAGE_SEED + seed, language_images, "training", reporter.track("drawing questioned phantoms"))
    questioned = [_questioned(case) for case in cases]
    texts = [text for item in questioned for pair in item.questions for text in pair]
    tokenizer = build_tokenizer([*texts, *_general_words()])
    vlm = _fresh_model(tokenizer, build_model, seed)
    settings = PretrainSettings(vision_epochs=vision_epochs, language_epochs=language_epochs, seed=seed)
    if tower_from is None:
        dense = [
            _dense(case)
            for case in _cases(DENSE_SEED + seed, dense_images, "balanced", reporter.track("drawing labelled phantoms"))
        ]
        loss = pretrain_vision(vlm, dense, settings, reporter.track("vision tower"))
        reporter.message(f"vision tower: loss {loss:.4f} in the last epoch")
    else:
        _take_tower(vlm, tower_from)
    save_checkpoint(vlm.model, tokenizer, out, dtype="float32")
    loss = pretrain_language(vlm, questioned, settings, reporter.track("language model"))
    reporter.message(f"language model: loss {loss:.4f} per answer token in the last epoch")
    save_checkpoint(vlm.model, tokenizer, out)
    reporter.message(f"wrote {out}")


def _cases(first: int, count: int, priors: str, advance: Any) -> Sequence[Any]:
    from mmedpo.data.phantom import BALANCED_PRIORS, TRAINING_PRIORS, generate_case

    chosen = TRAINING_PRIORS if priors == "training" else BALANCED_PRIORS
    cases = []
    for index in range(count):
        cases.append(generate_case(first + index, chosen))
        advance(index + 1, count)
    return cases


def _questioned(case: Any) -> Any:
    from mmedpo.models.tiny.pretrain import QuestionedImage

    return QuestionedImage(case.image, tuple((item.question, item.answer) for item in case.questions))


def _dense(case: Any) -> Any:
    """Patch labels: a finding lies in a patch when it covers an eighth of it, or when most of it lies there."""
    import numpy as np

    from mmedpo.data.phantom.priors import KINDS
    from mmedpo.models.tiny.architecture import IMAGE_SIZE, PATCH_SIZE
    from mmedpo.models.tiny.pretrain import DenseImage

    grid = IMAGE_SIZE // PATCH_SIZE
    patches = np.zeros((grid * grid, len(KINDS)), dtype=np.bool_)
    image_labels = np.zeros(3 * len(KINDS) + 12, dtype=np.bool_)
    for finding, mask in zip(case.findings, case.masks, strict=True):
        kind = KINDS.index(finding.kind)
        covered = mask.reshape(grid, PATCH_SIZE, grid, PATCH_SIZE).sum(axis=(1, 3)).reshape(-1)
        patches[:, kind] = (covered >= PATCH_SIZE**2 / 8) | (covered >= 0.3 * max(mask.sum(), 1))
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


def _fresh_model(tokenizer: Any, build_model: Any, seed: int) -> Any:
    import torch

    from mmedpo.models.tiny.architecture import IMAGE, build_image_processor
    from mmedpo.models.vlm import VisionLanguageModel

    torch.manual_seed(seed)
    model = build_model(tokenizer)
    return VisionLanguageModel(
        model=model,
        tokenizer=tokenizer,
        image_processor=build_image_processor(),
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_tokens=model.config.image_seq_length,
        name="tiny (in training)",
    )


def _take_tower(vlm: Any, folder: Path) -> None:
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    tower = {key.split("vision_tower.", 1)[1]: value for key, value in weights.items() if "vision_tower." in key}
    vlm.base.model.vision_tower.load_state_dict({key: value.float() for key, value in tower.items()})
