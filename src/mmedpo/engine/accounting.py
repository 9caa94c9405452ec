"""Memory of a training pass, counted before it is run.

The pass is computed on torch's meta device, where tensors have shapes and no content, by the same code
as in training; what autograd keeps between forward and backward is added up, each piece of memory once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmedpo.engine.attention import TRIE_ATTENTION, TrieAttention, register_trie_attention
from mmedpo.engine.branches import Branch
from mmedpo.engine.logprobs import collect, layout_of, positions
from mmedpo.models.family import Size
from mmedpo.models.vlm import VisionLanguageModel


class PassCost(NamedTuple):
    """Bytes of one forward and backward pass beyond weights, gradients and optimizer."""

    columns: int
    """Tokens of the pass, after sharing."""
    kept: int
    """What autograd keeps of the language model."""
    logits: int
    """Logits in float32: as much again lives while their gradient is made."""
    vision: int
    """What autograd keeps of projector and tower, where they are trained."""

    @property
    def peak(self) -> int:
        """Most of it that lives at one time."""
        return self.kept + self.vision + 2 * self.logits


def kept_bytes(compute: Callable[[], Any], left_out: Iterable[Tensor] = ()) -> int:
    """Bytes that autograd keeps of a computation; storages of `left_out` (the weights) are not counted."""
    own = {_place(tensor) for tensor in left_out}
    found: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        # The tensor is held, so that its storage's place is nobody else's while we count.
        if _place(tensor) not in own:
            found.setdefault(_place(tensor), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()
    total = sum(tensor.untyped_storage().nbytes() for tensor in found.values())
    del result
    return total


def pass_cost(vlm: VisionLanguageModel, branches: Sequence[Branch]) -> PassCost:
    """Cost of the packed pass over some branches.

    Args:
        vlm: an outline (`mmedpo.models.hub.load_outline`), opened for training.
        branches: of one pass, distinct.
    """
    register_trie_attention()
    vlm.base.set_attn_implementation({"text_config": TRIE_ATTENTION})
    layout = layout_of(vlm, branches)
    parents, row = np.unique(layout.parent, return_inverse=True)
    dtype, meta = vlm.base.dtype, torch.device("meta")
    trains_vision = bool(vlm.trained & {"projector", "vision_tower"})

    def language() -> Tensor:
        embedded = torch.empty(1, layout.columns, vlm.text_config.hidden_size, dtype=dtype, device=meta)
        hidden = vlm.base.get_decoder()(
            inputs_embeds=embedded.requires_grad_(trains_vision or (vlm.trained == {"language_model"} and _full(vlm))),
            position_ids=positions(vlm, branches, layout).to(meta),
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=dtype, device=meta),
            trie=TrieAttention(layout, meta, dtype),
            use_cache=False,
        ).last_hidden_state
        logits = vlm.base.get_output_embeddings()(hidden[:, torch.from_numpy(parents).to(meta)])[0]
        rows, target = (torch.from_numpy(value).to(meta) for value in (row, layout.target))
        return collect(logits, rows, target, layout.branch, len(branches)).values

    weights = list(vlm.model.parameters())
    kept = kept_bytes(language, weights)
    logits = 4 * len(parents) * int(vlm.base.get_output_embeddings().weight.shape[0])
    vision = _vision(vlm, branches, weights) if trains_vision else 0
    return PassCost(layout.columns, kept, logits, vision)


def _full(vlm: VisionLanguageModel) -> bool:
    """Whether the embeddings themselves are trained."""
    return bool(vlm.base.get_input_embeddings().weight.requires_grad)


def _vision(vlm: VisionLanguageModel, branches: Sequence[Branch], weights: Sequence[Tensor]) -> int:
    """What autograd keeps of the distinct pictures of a pass."""
    sizes: dict[Any, Size] = {}
    for branch in branches:
        sizes.update(zip(branch.views, branch.pictures, strict=True))
    each: dict[Size, int] = {}
    for size in set(sizes.values()):
        shape = size if size.height > 1 else Size(336, 336)
        inputs = vlm.inputs(np.zeros(shape, dtype=np.uint8))
        each[size] = kept_bytes(lambda given=inputs: vlm.base.get_image_features(**given, return_dict=True), weights)
    return sum(each[size] for size in sizes.values())


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
