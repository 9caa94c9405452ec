"""Pictures of the zoo's tests, and what stock code takes of them: nothing of the product is asked here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from mmedpo.models.family import Size

SIZES = {"wide": Size(40, 90), "tall": Size(90, 50), "square": Size(64, 64)}
VIEWS = tuple(Path(name) for name in SIZES)


def read(view: Path) -> np.ndarray:
    """The pixels of a view, grey."""
    return np.random.default_rng(len(view.name)).integers(0, 256, SIZES[view.name], dtype=np.uint8)


def stock_inputs(vlm: Any, views: tuple[Path, ...], ids: list[int], prompt: int) -> dict[str, torch.Tensor]:
    """What the model's own processor would hand to its stock forward pass beside pixels in that order."""
    kind = vlm.base.config.model_type
    pictures = [Image.fromarray(read(view)).convert("RGB") for view in views]
    each = []
    for picture in pictures:
        images = [[picture]] if kind in ("smolvlm", "idefics3") else [picture]
        options = {"crop_to_patches": True} if kind == "internvl" else {}
        each.append(vlm.image_processor(images=images, return_tensors="pt", **options))
    wanted = {"pixel_values", "image_sizes", "image_grid_thw", "pixel_attention_mask"}
    inputs = {key: _joined([one[key] for one in each]) for key in each[0] if key in wanted}
    image = [int(token == vlm.base.config.image_token_id) for token in ids]
    if "qwen" in kind:
        inputs["mm_token_type_ids"] = torch.tensor([image])
    if kind == "gemma3":
        inputs["token_type_ids"] = torch.tensor([image])
    if kind == "paligemma":
        inputs["token_type_ids"] = torch.tensor([[int(place >= prompt) for place in range(len(ids))]])
    exact = {key: value.to(vlm.base.dtype) if value.is_floating_point() else value for key, value in inputs.items()}
    return {"input_ids": torch.tensor([ids]), **exact}


def _joined(tensors: list[torch.Tensor]) -> torch.Tensor:
    """One below the other; pictures of fewer tiles are filled up with zeros."""
    if tensors[0].dim() < 4 or len({tensor.shape[1:] for tensor in tensors}) == 1:
        return torch.cat(tensors)
    most = max(tensor.shape[1] for tensor in tensors)
    filled = []
    for tensor in tensors:
        padded = tensor.new_zeros(tensor.shape[0], most, *tensor.shape[2:])
        padded[:, : tensor.shape[1]] = tensor
        filled.append(padded)
    return torch.cat(filled)


def stock_logprobs(vlm: Any, branch: Any) -> torch.Tensor:
    """[answer tokens] log-probs of a branch from ids and pixels, one row through the stock forward pass."""
    ids = [*branch.prompt, *branch.response]
    logits = vlm.model(**stock_inputs(vlm, branch.views, ids, len(branch.prompt))).logits[0].log_softmax(-1)
    rows = range(len(branch.prompt) - 1, len(ids) - 1)
    return torch.stack([logits[row, token] for row, token in zip(rows, branch.response, strict=True)])
