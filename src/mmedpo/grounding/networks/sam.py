"""A box refined to a mask by a SAM-type model of `transformers` in a local folder (SAM, MedSAM, SAM-HQ, SAM 2)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmedpo.grounding.networks.weights import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    from_folder,
    normalisation,
)
from mmedpo.grounding.regions import boxes_mask
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels

FITTED = ("sam", "sam_hq")
"""Models that see pictures in their own proportions, from the top left; later ones stretch them to the square."""


class BoxRefiner:
    """The model; images are brought into its square as it was trained."""

    def __init__(
        self, model: Any, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD
    ) -> None:
        self._model, self._mean, self._std = model, mean, std
        self._side = int(model.config.prompt_encoder_config.image_size)
        self._fitted = model.config.model_type in FITTED

    @classmethod
    def load(cls, folder: Path) -> BoxRefiner:
        """Loads a SAM-type model.

        Raises:
            GroundingError: no such folder, or another kind of model in it.
        """
        from transformers import AutoModelForMaskGeneration

        mean, std = normalisation(folder, IMAGENET_MEAN, IMAGENET_STD)
        return cls(from_folder(AutoModelForMaskGeneration, folder, "SAM-type model"), mean, std)

    def refine(self, image: Pixels, boxes: Sequence[Box]) -> Mask:
        """Union of the boxes' masks, bool [H, W]; each is kept inside its box."""
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        rows, columns = self._side, self._side
        if self._fitted:
            rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        across, down = (scale, scale) if self._fitted else (columns / width, rows / height)
        corners = [[box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down] for box in boxes]
        with torch.inference_mode():
            out = self._model(
                pixel_values=self._square(image, rows, columns),
                input_boxes=torch.tensor([corners], dtype=torch.float32),
                multimask_output=False,
            )
            large = torch.nn.functional.interpolate(
                out.pred_masks[0].float(), (self._side, self._side), mode="bilinear", align_corners=False
            )[..., :rows, :columns]
            masks = torch.nn.functional.interpolate(large, (height, width), mode="bilinear", align_corners=False) > 0
        union = np.zeros((height, width), dtype=bool)
        for mask, box in zip(masks[:, 0].numpy(), boxes, strict=True):
            union |= mask & boxes_mask([box], height, width)
        return union

    def _square(self, image: Pixels, rows: int, columns: int) -> torch.Tensor:
        from PIL import Image

        picture = Image.fromarray(image).convert("RGB").resize((columns, rows), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255.0).permute(2, 0, 1)
        mean, std = torch.tensor(self._mean)[:, None, None], torch.tensor(self._std)[:, None, None]
        square = torch.zeros(1, 3, self._side, self._side)
        square[0, :, :rows, :columns] = (pixels - mean) / std
        return square
