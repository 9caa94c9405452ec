"""Attention over a layout, in the portable prefix-group form: slices and `scaled_dot_product_attention`, nothing else.

A trunk attends causally, in one call. What grows from it attends in a few chunks of neighbouring
groups, each to the trunk and, by a mask, to itself: no query is compared with all other questions on
the image, and a trunk's keys are not copied for every question either.

The function is registered with `transformers` under a name; a model set to it takes a
`trie=TrieAttention` argument through its own, unchanged forward pass, and computes ordinary SDPA
attention wherever that argument is not given (generation, plain sequences).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmedpo.engine.layout import Layout, Span, Tree, dense_visibility

TRIE_ATTENTION = "mmedpo_trie"
"""Name of this attention in `transformers`."""

Heads = Tensor
"""[1, heads, columns, head size]: queries, keys or values."""


class TrieAttention(NamedTuple):
    """What attention needs to know of a layout, on the model's device."""

    sizes: list[int]
    """Columns of each piece, in order: a tree's trunk, then its chunks of groups, then the next tree's."""
    masks: list[Tensor | None]
    """For each piece: None for a trunk, which is causal; for a chunk [1, 1, chunk, trunk + chunk], 0 where a
    query sees a key, else -inf."""


def trie_attention(layout: Layout, device: torch.device, dtype: torch.dtype) -> TrieAttention:
    """Prepares the attention of a layout; shared by all layers of one forward pass."""
    sizes: list[int] = []
    masks: list[Tensor | None] = []
    for tree in layout.trees:
        sizes.append(tree.trunk.length)
        masks.append(None)
        for chunk in _chunks(tree):
            sizes.append(chunk.length)
            masks.append(torch.from_numpy(_mask(layout, tree.trunk, chunk)).to(device, dtype))
    return TrieAttention(sizes, masks)


def register_trie_attention() -> None:
    """Makes the attention known to `transformers`; masks of ordinary calls are those of SDPA."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(TRIE_ATTENTION, attention_forward)
    AttentionMaskInterface.register(TRIE_ATTENTION, sdpa_mask)


def attention_forward(
    module: Any,
    query: Heads,
    key: Heads,
    value: Heads,
    attention_mask: Tensor | None,
    trie: TrieAttention | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """One layer's attention in the calling convention of `transformers`: [1, columns, heads, head size]."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    if trie is None:
        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    shared = query.shape[1] // key.shape[1]
    pieces = (
        torch.split(heads, trie.sizes, dim=2) for heads in (query, repeat_kv(key, shared), repeat_kv(value, shared))
    )
    answers = []
    for q, k, v, mask in zip(*pieces, trie.masks, strict=True):
        if mask is None:
            trunk = k, v
        else:
            k, v = (torch.cat(pair, dim=2) for pair in zip(trunk, (k, v), strict=True))
        answers.append(
            scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling
            )
        )
    return torch.cat(answers, dim=2).transpose(1, 2), None


def _chunks(tree: Tree) -> list[Span]:
    """Neighbouring groups together, up to about half of their trunk.

    Smaller chunks compare a question with fewer others; larger ones copy the trunk's keys less often.
    """
    chunks: list[Span] = []
    for group in tree.groups:
        if chunks and chunks[-1].length + group.length <= max(64, tree.trunk.length // 2):
            chunks[-1] = Span(chunks[-1].start, chunks[-1].length + group.length)
        else:
            chunks.append(group)
    return chunks


def _mask(layout: Layout, trunk: Span, chunk: Span) -> NDArray[np.float32]:
    """[1, 1, chunk, trunk + chunk] 0 where a query of a chunk sees a column of its trunk or of the chunk."""
    mask = np.zeros((1, 1, chunk.length, trunk.length + chunk.length), dtype=np.float32)
    mask[0, 0, :, trunk.length :][~dense_visibility(layout, chunk)] = -np.inf
    return mask
