"""Writing a whole model, so that it loads again as it was: weights, tokenizer, template, image processor."""

from __future__ import annotations

from pathlib import Path

from mmedpo.models.vlm import VisionLanguageModel


def save_model(vlm: VisionLanguageModel, folder: Path, dtype: str) -> None:
    """Writes a checkpoint folder with safetensors in `dtype`; the model in memory takes that type as well."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    vlm.base.to(getattr(torch, dtype)).save_pretrained(folder)
    save_processors(vlm, folder)


def save_processors(vlm: VisionLanguageModel, folder: Path) -> None:
    """Writes what belongs beside weights: tokenizer with its template, and the model's own image processor."""
    vlm.tokenizer.save_pretrained(folder)
    vlm.image_processor.save_pretrained(folder)
