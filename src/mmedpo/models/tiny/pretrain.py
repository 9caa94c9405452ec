"""Training the tiny Med-LVLM from scratch, in the three steps real ones are made in.

1. The vision tower alone, on dense labels (which finding lies in which patch): the strong eye that
   a real model inherits from its pretrained encoder.
2. Projector and language model on questions about *balanced* images, tower frozen: the skill of
   reading an answer off the image.
3. The same on images with language priors: the habit that real models take over from their text.
   The skill is still in the weights, the habit is stronger: the model overlooks what it could see.

All questions of one image form one sequence: they share the image's tokens and do not see each
other (block mask, positions counted from the shared prefix), which makes a step several times
cheaper than one sequence per question and changes no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mmedpo.models.descent import OneCycle
from mmedpo.models.vlm import VisionLanguageModel

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DenseImage:
    """One image with patch labels, for step 1."""

    image: NDArray[np.uint8]
    """[H, W], 0..255."""
    patch_labels: NDArray[np.bool_]
    """[patches, classes]: class present in that patch (row-major patches)."""
    image_labels: NDArray[np.bool_]
    """[image classes]: facts of the whole image."""


@dataclass(frozen=True)
class QuestionedImage:
    """One image with all its questions, for steps 2 and 3."""

    image: NDArray[np.uint8]
    """[H, W], 0..255."""
    questions: tuple[tuple[str, str], ...]
    """(question, answer) pairs."""


@dataclass(frozen=True)
class PretrainSettings:
    """Length and rate of the steps."""

    vision_epochs: int = 12
    """Passes over the dense images."""
    vision_rate: float = 1e-3
    """Peak learning rate of step 1 (AdamW, one cycle)."""
    language_epochs: int = 8
    """Passes over the questioned images, in a step on questions."""
    language_rate: float = 2e-3
    """Peak learning rate of a step on questions."""
    vision_batch: int = 64
    """Images per optimizer step of step 1."""
    language_batch: int = 16
    """Images per optimizer step, in a step on questions."""
    seed: int = 0
    """Seed of initial weights and order."""


def pretrain_vision(
    vlm: VisionLanguageModel, images: Sequence[DenseImage], settings: PretrainSettings, progress: Progress
) -> float:
    """Step 1; returns the mean loss of the last epoch. The two linear heads are thrown away."""
    tower = vlm.base.model.vision_tower
    width = vlm.base.config.vision_config.hidden_size
    patch_head = torch.nn.Linear(width, images[0].patch_labels.shape[1])
    image_head = torch.nn.Linear(width, images[0].image_labels.shape[0])
    parameters = [*tower.parameters(), *patch_head.parameters(), *image_head.parameters()]
    for parameter in tower.parameters():
        parameter.requires_grad_(True)
    pixels = torch.stack([torch.from_numpy(item.image) for item in images])
    patches = torch.stack([torch.from_numpy(item.patch_labels) for item in images])
    labels = torch.stack([torch.from_numpy(item.image_labels) for item in images])
    steps_per_epoch = len(images) // settings.vision_batch
    total = steps_per_epoch * settings.vision_epochs
    descent = OneCycle(parameters, settings.vision_rate, total, weight_decay=0.05)
    generator = torch.Generator().manual_seed(settings.seed)
    last: list[float] = []
    for epoch in range(settings.vision_epochs):
        order = torch.randperm(len(images), generator=generator)
        for step in range(steps_per_epoch):
            index = order[step * settings.vision_batch : (step + 1) * settings.vision_batch]
            normalised = (pixels[index].float() / 255.0 - 0.5) / 0.25
            output = tower(normalised.unsqueeze(1).expand(-1, 3, -1, -1), output_hidden_states=True)
            hidden = output.hidden_states[-1][:, 1:]
            loss = 4.0 * _focal(patch_head(hidden), patches[index].float())
            loss = loss + functional.binary_cross_entropy_with_logits(
                image_head(hidden.mean(dim=1)), labels[index].float()
            )
            descent.step(loss)
            if epoch == settings.vision_epochs - 1:
                last.append(loss.item())
            progress(epoch * steps_per_epoch + step + 1, total)
    tower.requires_grad_(False)
    return float(np.mean(last))


def pretrain_language(
    vlm: VisionLanguageModel, images: Sequence[QuestionedImage], settings: PretrainSettings, progress: Progress
) -> float:
    """Steps 2 and 3; returns the mean answer-token loss of the last epoch."""
    model = vlm.base
    model.requires_grad_(True)
    model.model.vision_tower.requires_grad_(False)
    tower_output = _tower_output(vlm, [item.image for item in images])
    sequences = [pack_questions(vlm, item.questions) for item in images]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps_per_epoch = len(images) // settings.language_batch
    total = steps_per_epoch * settings.language_epochs
    descent = OneCycle(parameters, settings.language_rate, total, weight_decay=0.01)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    last: list[float] = []
    for epoch in range(settings.language_epochs):
        order = torch.randperm(len(images), generator=generator).tolist()
        for step in range(steps_per_epoch):
            index = order[step * settings.language_batch : (step + 1) * settings.language_batch]
            loss = _language_loss(vlm, [sequences[i] for i in index], tower_output[index].float())
            descent.step(loss)
            if epoch == settings.language_epochs - 1:
                last.append(loss.item())
            progress(epoch * steps_per_epoch + step + 1, total)
    model.requires_grad_(False)
    return float(np.mean(last))


@dataclass(frozen=True)
class PackedQuestions:
    """All questions of one image as one sequence."""

    ids: Tensor
    """[tokens] prefix (with image placeholders), then every question with its answer."""
    positions: Tensor
    """[tokens] position of each token in its own conversation."""
    block: Tensor
    """[tokens] 0 for the shared prefix, q + 1 for the tokens of question q."""
    target: Tensor
    """[tokens] True where the token is to be predicted (answers and end-of-sequence)."""


def pack_questions(vlm: VisionLanguageModel, questions: Sequence[tuple[str, str]]) -> PackedQuestions:
    """Packs the conversations on one image behind their common prefix."""
    prompts = [vlm.prompt_ids(question) for question, _ in questions]
    shared = max(i for i, token in enumerate(prompts[0]) if token == vlm.image_token_id) + 1
    ids = prompts[0][:shared]
    positions, block, target = list(range(shared)), [0] * shared, [False] * shared
    for number, (prompt, (_, answer)) in enumerate(zip(prompts, questions, strict=True), start=1):
        answer_ids = vlm.answer_ids(answer)
        tail = [*prompt[shared:], *answer_ids]
        ids += tail
        positions += range(shared, shared + len(tail))
        block += [number] * len(tail)
        target += [False] * (len(prompt) - shared) + [True] * len(answer_ids)
    return PackedQuestions(torch.tensor(ids), torch.tensor(positions), torch.tensor(block), torch.tensor(target))


def _language_loss(vlm: VisionLanguageModel, sequences: Sequence[PackedQuestions], tower_output: Tensor) -> Tensor:
    model = vlm.base
    length = max(len(sequence.ids) for sequence in sequences)
    pad = int(vlm.tokenizer.pad_token_id)
    ids = torch.stack([functional.pad(s.ids, (0, length - len(s.ids)), value=pad) for s in sequences])
    positions = torch.stack([functional.pad(s.positions, (0, length - len(s.ids))) for s in sequences])
    block = torch.stack([functional.pad(s.block, (0, length - len(s.ids)), value=-1) for s in sequences])
    target = torch.stack([functional.pad(s.target, (0, length - len(s.ids)), value=False) for s in sequences])
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    visible = (block[:, :, None] == block[:, None, :]) | (block[:, None, :] == 0)
    mask = torch.where(visible & causal, 0.0, torch.finfo(torch.float32).min).unsqueeze(1)
    features = vlm.project(tower_output)
    hidden = model.model.language_model(
        inputs_embeds=vlm.embed(ids, features), attention_mask=mask, position_ids=positions, use_cache=False
    ).last_hidden_state
    # A question's first target follows its own prompt, so the token before it is always its parent.
    logits = model.lm_head(hidden[:, :-1][target[:, 1:]])
    return functional.cross_entropy(logits, ids[:, 1:][target[:, 1:]])


@torch.no_grad()
def _tower_output(vlm: VisionLanguageModel, images: Sequence[NDArray[np.uint8]]) -> Tensor:
    parts = (images[start : start + 64] for start in range(0, len(images), 64))
    return torch.cat([vlm.tower_features(part).half() for part in parts])


def _focal(logits: Tensor, labels: Tensor, gamma: float = 1.5) -> Tensor:
    """Focal loss: lesions fill few patches, and easy background must not drown them."""
    loss = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (loss * (1.0 - torch.exp(-loss)).pow(gamma)).mean() * 10.0
