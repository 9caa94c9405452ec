"""Memory of a training pass, counted before it is run.

The pass is computed on torch's meta device, where tensors have shapes and no content, by the same code
as in training; what autograd keeps between forward and backward is added up, each piece of memory once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from mmedpo.engine.attention import TRIE_ATTENTION, TrieAttention, register_trie_attention
from mmedpo.engine.branches import Branch
from mmedpo.engine.logprobs import layout_of, positions
from mmedpo.engine.rebuild import WATCHERS, Rebuilding
from mmedpo.models.family import Size
from mmedpo.models.vlm import VisionLanguageModel

_COUNTED = "mmedpo_counted"
"""Name of the attention that only keeps what a fused one would."""


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

    WATCHERS.append(keep)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            result = compute()
    finally:
        WATCHERS.remove(keep)
    total = sum(tensor.untyped_storage().nbytes() for tensor in found.values())
    del result
    return total


def pass_cost(vlm: VisionLanguageModel, branches: Sequence[Branch], *, recomputed: bool = False) -> PassCost:
    """Cost of the packed pass over some branches.

    Args:
        vlm: an outline (`mmedpo.models.hub.load_outline`), opened for training.
        branches: of one pass, distinct.
        recomputed: activations are recomputed in the backward pass, one layer at a time.
    """
    register_trie_attention()
    vlm.base.set_attn_implementation({"text_config": TRIE_ATTENTION})
    layout = layout_of(vlm, branches)
    parents, row = np.unique(layout.parent, return_inverse=True)
    dtype, meta = vlm.base.dtype, torch.device("meta")
    trains_vision = bool(vlm.trained & {"projector", "vision_tower"})
    trains_input = trains_vision or bool(vlm.base.get_input_embeddings().weight.requires_grad)
    embedded = torch.empty(1, layout.columns, vlm.text_config.hidden_size, dtype=dtype, device=meta)

    def language() -> Tensor:
        hidden = vlm.base.get_decoder()(
            inputs_embeds=embedded.clone().requires_grad_(trains_input),
            position_ids=positions(vlm, branches, layout).to(meta),
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=dtype, device=meta),
            trie=TrieAttention(layout, meta, dtype, _attend),
            use_cache=False,
        ).last_hidden_state
        return head(hidden)

    def head(hidden: Tensor) -> Tensor:
        logits = vlm.base.get_output_embeddings()(hidden[:, torch.from_numpy(parents).to(meta)])[0]
        rows, target = (torch.from_numpy(value).to(meta) for value in (row, layout.target))
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return torch.as_tensor(wide[rows, target] - wide.logsumexp(-1)[rows])

    weights = list(vlm.model.parameters())
    kept = kept_bytes(language if recomputed else _as_trained(language), weights)
    if recomputed:
        last, layers = kept_bytes(lambda: head(embedded.clone().requires_grad_()), weights), _layers(vlm)
        kept = layers * embedded.nbytes + (kept - last) // layers + last
    logits = 4 * len(parents) * int(vlm.base.get_output_embeddings().weight.shape[0])
    vision = _vision(vlm, branches, weights) if trains_vision else 0
    return PassCost(layout.columns, kept, logits, vision)


def _as_trained(compute: Callable[[], Any]) -> Callable[[], Any]:
    """The same, keeping what the engine keeps."""

    def rebuilding() -> Any:
        with Rebuilding():
            return compute()

    return rebuilding


def _layers(vlm: VisionLanguageModel) -> int:
    return int(vlm.text_config.num_hidden_layers)


class _Fused(torch.autograd.Function):
    """Keeps what the fused kernels of a device keep; the meta device has only the unfused form, which keeps more."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """[1, heads, queries, head size]; beside it one normaliser for each query is kept."""
        answer = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, mask, answer, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return answer

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Never asked for: passes are counted forwards."""
        raise NotImplementedError


def _counted(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, **options: Any) -> Any:
    """A layer's attention in the calling convention of `transformers`."""
    return _attend(query, key, value, mask).transpose(1, 2), None


def _attend(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
    fused: Any = _Fused
    return torch.as_tensor(fused.apply(query, key, value, attn_mask))


def _vision(vlm: VisionLanguageModel, branches: Sequence[Branch], weights: Sequence[Tensor]) -> int:
    """What autograd keeps of the distinct pictures of a pass."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(_COUNTED, _counted)
    AttentionMaskInterface.register(_COUNTED, sdpa_mask)
    vlm.base.set_attn_implementation({"vision_config": _COUNTED})
    sizes: dict[Any, Size] = {}
    for branch in branches:
        sizes.update(zip(branch.views, branch.pictures, strict=True))
    each, dtype = dict[Size, int](), vlm.base.dtype
    for size in set(sizes.values()):
        shape = size if size.height > 1 else Size(336, 336)
        given = vlm.family.encode(np.zeros(shape, dtype=np.uint8))
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
        with _ContentOfInputs():
            encode = partial(vlm.base.get_image_features, **inputs, return_dict=True)
            each[size] = kept_bytes(_as_trained(encode), weights)
    return sum(each[size] for size in sizes.values())


class _ContentOfInputs(TorchFunctionMode):
    """Whole numbers and what is made of inputs alone keep their content, beside a model that has none.

    Towers read grids, and which tiles are empty, while they compute. What meets a weight loses its content.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls the function with its tensors brought together on one device."""
        kwargs = dict(kwargs or {})
        if func is torch.tensor:
            return func(*args, **{**kwargs, "device": "cpu"})
        if func is Tensor.to and not args[0].is_meta:
            moved = func(*args, **kwargs)
            return moved if moved.is_floating_point() else args[0].to(moved.dtype)
        found = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        if any(value.is_meta for value in found):
            args, kwargs = tree_map_only(Tensor, lambda value: value.to("meta"), (args, kwargs))
        return func(*args, **kwargs)


def _place(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
