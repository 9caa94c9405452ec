"""A loaded Med-LVLM behind the few calls the stages need.

What differs between models is asked of its family (`mmedpo.models.family`); how pixels become features
stands in `mmedpo.models.encoding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmedpo.config import Part
from mmedpo.errors import ModelError
from mmedpo.models.encoding import ImageFeatures, Kept, TowerOutput, image_features, project, tower_outputs
from mmedpo.models.family import ANY_SIZE, Family, Size, UInt8Image

__all__ = ["UInt8Image", "VisionLanguageModel"]

KEPT_PROMPTS = 4096
"""Prompts whose token ids are kept: of 1,000 tokens each, 32 MiB."""


@dataclass
class VisionLanguageModel:
    """A checkpoint and its family."""

    model: Any
    """A `...ForConditionalGeneration`, or a PEFT model around one."""
    family: Family
    """What is special about it; holds tokenizer and image processor."""
    name: str
    """How the user named the checkpoint."""
    trained: frozenset[Part] = field(default=frozenset())
    """Parts that are being trained; whatever depends on none of them is computed once."""
    _prompts: dict[tuple[str, tuple[Size, ...]], tuple[int, ...]] = field(default_factory=dict, repr=False)
    """Token ids by question and sizes, a bounded number of them."""

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self.family.tokenizer

    @property
    def image_processor(self) -> Any:
        """The checkpoint's image processor."""
        return self.family.image_processor

    @property
    def image_token_id(self) -> int:
        """Id of the placeholder that image features replace."""
        return self.family.image_token_id

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return torch.device(next(iter(self.model.parameters())).device)

    @property
    def base(self) -> Any:
        """The `...ForConditionalGeneration` itself, inside any PEFT wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def text_config(self) -> Any:
        """Configuration of the language model."""
        return self.base.config.get_text_config()

    @property
    def context_length(self) -> int:
        """Longest sequence the language model takes, tokens."""
        return int(self.text_config.max_position_embeddings)

    def prompt_ids(self, question: str, sizes: Sequence[Size] = (ANY_SIZE,)) -> list[int]:
        """Token ids of the prompt up to where the answer starts, image placeholders expanded.

        Args:
            question: plain text.
            sizes: of the pictures it is asked about; a family that counts tokens by them needs the true ones.

        Raises:
            ModelError: the template does not place every picture once.
        """
        key = (question, tuple(sizes))
        if key not in self._prompts:
            # A data set asks the same of many images, and stages ask for a prompt again and again.
            if len(self._prompts) >= KEPT_PROMPTS:
                self._prompts.clear()
            self._prompts[key] = tuple(self.family.prompt(question, sizes))
        return list(self._prompts[key])

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer, end of turn included.

        Raises:
            ModelError: the answer is empty once tokenised.
        """
        return self.family.answer(answer)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens removed, stripped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def inputs(self, image: UInt8Image) -> dict[str, Tensor]:
        """What `get_image_features` takes for one picture, on the model's device and in its type.

        Raises:
            ModelError: the model takes no picture of this size.
        """
        self.family.image_tokens(_size(image))
        return {
            name: value.to(self.device, self.base.dtype) if value.is_floating_point() else value.to(self.device)
            for name, value in self.family.encode(image).items()
        }

    def encode(self, images: Sequence[UInt8Image]) -> list[ImageFeatures]:
        """Image features the language model reads, from pixels, in order."""
        inputs = [self.inputs(image) for image in images]
        return image_features(self.base, inputs, [_size(image) for image in images])

    @property
    def volatile(self) -> bool:
        """Whether nothing of the way from pixels to features can be kept while training goes on."""
        return "vision_tower" in self.trained or ("projector" in self.trained and bool(self.family.merger))

    def keep(self, images: Sequence[UInt8Image]) -> list[Kept]:
        """The part of the way from pixels to features that comes before anything trained but the tower."""
        if self.volatile:
            return list(self.encode(images))
        with torch.no_grad():
            if "projector" not in self.trained:
                return list(self.encode(images))
            inputs = [self.inputs(image) for image in images]
            return list(tower_outputs(self.base, inputs, [_size(image) for image in images]))

    def finish(self, kept: Sequence[Kept]) -> list[ImageFeatures]:
        """The rest of that way, differentiable; on the model's device."""
        moved = [one.map(lambda value: value.to(self.device)) for one in kept]
        towers = [one for one in moved if isinstance(one, TowerOutput)]
        projected = iter(project(self.base, towers, next(iter(self.model.parameters()))) if towers else ())
        return [next(projected) if isinstance(one, TowerOutput) else one for one in moved]

    # Models of LLaVA's shape, taken apart: how the tiny one is trained from scratch.

    def tower_features(self, images: Sequence[UInt8Image]) -> Tensor:
        """What the projector is given of each image: [images, image tokens, tower width]."""
        given: list[Tensor] = []
        handle = self.base.model.multi_modal_projector.register_forward_pre_hook(
            lambda module, arguments: given.append(arguments[0])
        )
        try:
            self.encode(images)
        finally:
            handle.remove()
        return torch.cat(given)

    def project(self, tower: Tensor) -> Tensor:
        """Image features the language model reads: [images, image tokens, hidden] from the tower's output."""
        return torch.as_tensor(self.base.model.multi_modal_projector(tower))

    def embed(self, ids: Tensor, features: Tensor) -> Tensor:
        """Input embeddings [batch, tokens, hidden] with each row's image features in place.

        Shapes:
            ids [batch, tokens]; features [batch, image tokens, hidden].

        Raises:
            ModelError: a row's number of placeholders differs from the image tokens given.
        """
        embeddings = self.base.get_input_embeddings()(ids)
        mask = ids == self.image_token_id
        counts = mask.sum(dim=1)
        if not bool((counts == features.shape[1]).all()):
            raise ModelError(
                f"image placeholders per row {counts.tolist()} do not match {features.shape[1]} image features; "
                "a sequence was truncated or its template is wrong"
            )
        return torch.as_tensor(embeddings.masked_scatter(mask.unsqueeze(-1), features.to(embeddings.dtype)))


def _size(image: UInt8Image) -> Size:
    return Size(*image.shape[:2])
