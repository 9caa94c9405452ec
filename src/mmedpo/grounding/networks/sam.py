"""A box refined to a mask by a SAM-type model of `transformers` in a local folder (SAM, MedSAM)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmedpo.errors import GroundingError
from mmedpo.grounding.networks.weights import IMAGENET_MEAN, IMAGENET_STD
from mmedpo.records import Box
from mmedpo.records.shapes import Mask, Pixels


class BoxRefiner:
    """The model; images are fitted into its square from the top left, as it was trained."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._side = int(model.config.vision_config.image_size)

    @classmethod
    def load(cls, folder: Path) -> BoxRefiner:
        """Loads a SAM-type model.

        Raises:
            GroundingError: no such folder, or another kind of model in it.
        """
        from transformers import SamModel

        if not folder.is_dir():
            raise GroundingError(f"model folder {folder} does not exist; give a downloaded SAM or MedSAM model")
        try:
            model: Any = SamModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            return cls(model.eval())
        except (OSError, ValueError, KeyError) as error:
            why = " ".join(str(error).split())[:160]
            raise GroundingError(f"{folder} cannot be loaded as a SAM-type model ({why})") from error

    def refine(self, image: Pixels, boxes: Sequence[Box]) -> Mask:
        """Union of the boxes' masks, bool [H, W]; each is kept inside its box."""
        height, width = image.shape[:2]
        scale = self._side / max(height, width)
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        corners = [[box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale] for box in boxes]
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
            inside = np.zeros((height, width), dtype=bool)
            inside[int(box.y0) : int(np.ceil(box.y1)), int(box.x0) : int(np.ceil(box.x1))] = True
            union |= mask & inside
        return union

    def _square(self, image: Pixels, rows: int, columns: int) -> torch.Tensor:
        from PIL import Image

        picture = Image.fromarray(image).convert("RGB").resize((columns, rows), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255.0).permute(2, 0, 1)
        mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
        square = torch.zeros(1, 3, self._side, self._side)
        square[0, :, :rows, :columns] = (pixels - mean) / std
        return square
