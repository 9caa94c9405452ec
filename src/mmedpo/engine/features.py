"""Projected image features, computed once per view while tower and projector are frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmedpo.models.vlm import UInt8Image, VisionLanguageModel
from mmedpo.progress import Advance


class FeatureStore:
    """Image features by file, kept in memory on the model's device."""

    def __init__(self, vlm: VisionLanguageModel, read: Callable[[Path], UInt8Image]) -> None:
        self.vlm = vlm
        self.read = read
        self._features: dict[Path, Tensor] = {}

    def preload(self, views: Iterable[Path], advance: Advance | None = None, batch_size: int = 64) -> None:
        """Computes the features of all views not yet known."""
        wanted = [view for view in dict.fromkeys(views) if view not in self._features]
        for start in range(0, len(wanted), batch_size):
            batch = wanted[start : start + batch_size]
            features = self.vlm.image_features([self.read(view) for view in batch])
            self._features.update(zip(batch, features, strict=True))
            if advance:
                advance(start + len(batch), len(wanted))

    def __call__(self, views: Sequence[Path]) -> Tensor:
        """Features [len(views), image tokens, hidden], in order."""
        self.preload(views)
        return torch.stack([self._features[view] for view in views])
