"""A loaded Med-LVLM behind the few calls the stages need.

Only this file knows how a question becomes token ids with image tokens in them, and how pixels
become projected image features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmedpo.config import Part
from mmedpo.errors import ModelError

UInt8Image = NDArray[np.uint8]
"""[H, W] or [H, W, 3], 0..255."""


@dataclass
class VisionLanguageModel:
    """Model, tokenizer and image processor of one checkpoint."""

    model: Any
    """A `LlavaForConditionalGeneration`, or a PEFT model around one."""
    tokenizer: Any
    """Its tokenizer; must carry a chat template."""
    image_processor: Any
    """Its image processor (the PIL one: torchvision is never needed)."""
    image_token_id: int
    """Id of the placeholder that image features replace."""
    image_tokens: int
    """Number of placeholders one image takes."""
    name: str
    """How the user named the checkpoint."""
    trained: frozenset[Part] = frozenset()
    """Parts that are being trained; whatever depends on none of them is computed once."""

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return torch.device(next(iter(self.model.parameters())).device)

    @property
    def base(self) -> Any:
        """The `LlavaForConditionalGeneration` itself, inside any PEFT wrapper."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def context_length(self) -> int:
        """Longest sequence the language model takes, tokens."""
        return int(self.base.config.text_config.max_position_embeddings)

    def prompt_ids(self, question: str) -> list[int]:
        """Token ids of the prompt up to where the answer starts, image placeholders expanded.

        Raises:
            ModelError: the chat template does not render exactly one image placeholder.
        """
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        found = ids.count(self.image_token_id)
        if found != 1:
            raise ModelError(
                f"the chat template of {self.name!r} renders {found} image placeholders for one image, expected 1; "
                "fix the template of the checkpoint, or remove the placeholder from the question text"
            )
        at = ids.index(self.image_token_id)
        return [*ids[:at], *[self.image_token_id] * self.image_tokens, *ids[at + 1 :]]

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer, end-of-sequence included.

        Raises:
            ModelError: the answer is empty once tokenised.
        """
        ids: list[int] = self.tokenizer(answer.strip(), add_special_tokens=False)["input_ids"]
        if not ids:
            raise ModelError(f"the answer {answer!r} has no tokens; drop it before training")
        return [*ids, int(self.tokenizer.eos_token_id)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens removed, stripped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def pixel_values(self, images: Sequence[UInt8Image]) -> Tensor:
        """Pixel tensor [images, 3, height, width] on the model's device and in its dtype."""
        from PIL import Image

        pictures = [Image.fromarray(image).convert("RGB") for image in images]
        pixels = self.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        return torch.as_tensor(pixels).to(self.device, self.base.dtype)

    def tower_features(self, images: Sequence[UInt8Image]) -> Tensor:
        """What the projector is given of each image: [images, image tokens, tower width]."""
        config = self.base.config
        output = self.base.model.vision_tower(self.pixel_values(images), output_hidden_states=True, return_dict=True)
        layers = config.vision_feature_layer
        chosen = [output.hidden_states[layer] for layer in ([layers] if isinstance(layers, int) else layers)]
        if config.vision_feature_select_strategy == "default":
            chosen = [hidden[:, 1:] for hidden in chosen]
        return torch.cat(chosen, dim=-1)

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
