"""Patch-text similarity of any CLIP-like model of `transformers` in a local folder (CLIP, SigLIP and their kin)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmedpo.errors import GroundingError
from mmedpo.grounding.networks.weights import as_rgb, from_folder, normalisation, whole
from mmedpo.records.shapes import Pixels

HALF = (0.5, 0.5, 0.5)


class Similarity(NamedTuple):
    """What one image says of the texts."""

    patches: Tensor
    """[texts, rows, columns] cosine similarity of each patch with each text, -1..1."""
    image: Tensor
    """[texts] the model's own logits of the whole image."""


class ClipPatches:
    """A model, its texts embedded once."""

    def __init__(self, model: Any, texts: Tensor, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self._model, self._texts, self._side, self._mean, self._std = model, texts, side, mean, std

    @classmethod
    def load(cls, folder: Path, texts: list[str]) -> ClipPatches:
        """Loads model, tokenizer and the numbers of its image processor from a folder.

        Raises:
            GroundingError: no such folder, or no model with image and text features in it.
        """
        from transformers import AutoModel, AutoTokenizer

        model = from_folder(AutoModel, folder, "CLIP or SigLIP model")
        if not hasattr(model, "get_text_features") or not hasattr(model, "vision_model"):
            raise GroundingError(f"{folder} holds a {type(model).__name__}; allowed: a CLIP- or SigLIP-like model")
        tokenizer = whole(lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True), folder)
        longest = int(getattr(model.config.text_config, "max_position_embeddings", 64))
        tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=longest, return_tensors="pt")
        known = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
        with torch.inference_mode():
            embedded = _vector(model.get_text_features(**known))
        mean, std = normalisation(folder, HALF, HALF)
        return cls(model, embedded, int(model.config.vision_config.image_size), mean, std)

    def look(self, image: Pixels) -> Similarity:
        """Similarities of one image."""
        pixels = as_rgb(image, self._side, self._mean, self._std)
        with torch.inference_mode():
            states = self._model.vision_model(pixel_values=pixels).last_hidden_state
            whole = _vector(self._model.get_image_features(pixel_values=pixels))
            patches = self._projected(states)
        count = int(patches.shape[1] ** 0.5)
        patches = patches[:, patches.shape[1] - count**2 :]  # a class token stands before the patches
        cosine = _unit(patches[0]) @ _unit(self._texts).T
        scale = self._model.logit_scale.exp() if hasattr(self._model, "logit_scale") else torch.tensor(1.0)
        logits = scale * (_unit(whole)[0] @ _unit(self._texts).T)
        return Similarity(cosine.T.reshape(-1, count, count), logits.detach())

    def _projected(self, states: Tensor) -> Tensor:
        """Patch states brought to where the texts live: CLIP has a norm and a projection, SigLIP only the norm."""
        vision = self._model.vision_model
        if hasattr(self._model, "visual_projection"):
            projected: Tensor = self._model.visual_projection(vision.post_layernorm(states))
            return projected
        return states


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)


def _vector(output: Any) -> Tensor:
    """The pooled vectors, whether a version of transformers gives a tensor or an output object."""
    if isinstance(output, Tensor):
        return output
    pooled: Tensor = output.pooler_output
    return pooled
