"""Attention over a layout, in the portable prefix-group form: slices and `scaled_dot_product_attention`, nothing else.

A trunk attends causally, in one call (by a mask where its layers look back only so far, or where some
of its tokens see each other both ways). What grows from it attends in a few chunks of neighbouring
groups, each to the trunk and, by a mask, to itself: no query is compared with all other questions on
the image, and a trunk's keys are not copied for every question either.

The function is registered with `transformers` under a name; a model set to it takes a
`trie=TrieAttention` argument through its own, unchanged forward pass, and computes ordinary SDPA
attention wherever that argument is not given (generation, plain sequences).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmedpo.engine.layout import Index, Layout, Span, Tree, visibility
from mmedpo.engine.rebuild import copied

TRIE_ATTENTION = "mmedpo_trie"
"""Name of this attention in `transformers`."""

Heads = Tensor
"""[1, heads, columns, head size]: queries, keys or values."""


class Scores(NamedTuple):
    """How a layer turns queries and keys into weights."""

    scaling: float | None
    """Of the scores; None: one over the root of the head size."""
    softcap: float | None
    """Bound of the scores; None: none."""
    dropout: float
    """Probability."""


class PackedAttention(Protocol):
    """Attention of one sequence without padding that holds many conversations."""

    def __call__(self, layer: int, query: Heads, key: Heads, value: Heads, window: int | None, scores: Scores) -> Heads:
        """[1, heads, columns, head size] of one layer.

        Args:
            layer: its number.
            query: of the columns.
            key: of the columns; as many heads as the queries, or a divisor of them.
            value: likewise.
            window: how many tokens back the layer looks, itself included; None: to the start.
            scores: how it weighs.
        """
        ...


class TrieAttention:
    """What attention needs to know of a layout, on the model's device; one for all layers of a forward pass.

    Args:
        layout: of the columns.
        device: the model's.
        dtype: arithmetic type of the masks.
        attend: computes one piece.
    """

    def __init__(
        self,
        layout: Layout,
        device: torch.device,
        dtype: torch.dtype,
        attend: Callable[..., Heads] = scaled_dot_product_attention,
    ) -> None:
        self.layout, self.device, self.dtype, self.attend = layout, device, dtype, attend
        self.pieces: list[tuple[Span, Span]] = []
        """(trunk, piece) in order: a tree's trunk itself, then its chunks of groups, then the next tree's."""
        for tree in layout.trees:
            self.pieces += [(tree.trunk, piece) for piece in (tree.trunk, *_chunks(tree))]
        self.sizes = [piece.length for _, piece in self.pieces]
        """Columns of each piece."""
        self._longest = int(layout.depth.max()) + 1
        self._masks: dict[int | None, list[Tensor | None]] = {}

    def __call__(self, layer: int, query: Heads, key: Heads, value: Heads, window: int | None, scores: Scores) -> Heads:
        """See `PackedAttention`."""
        shared = query.shape[1] // key.shape[1]
        pieces = (torch.split(heads, self.sizes, dim=2) for heads in (query, key, value))
        answers, keys, values = [], key, value
        for (trunk, piece), q, k, v, mask in zip(self.pieces, *pieces, self.masks(window), strict=True):
            if piece == trunk:
                keys, values = k, v
            k, v = (
                copied([own] if piece == trunk else [first, own], 2, shared) for first, own in ((keys, k), (values, v))
            )
            # Column by column, as the layer goes on: another order would be copied for it.
            answers.append(attend(q, k, v, mask, scores, self.attend).transpose(1, 2))
        return copied(answers, 1).transpose(1, 2)

    def masks(self, window: int | None) -> list[Tensor | None]:
        """For each piece: None for a trunk that is causal; else [1, 1, piece, keys], 0 where seen, else -inf.

        Keys are the trunk's columns and, for a chunk, its own.

        Args:
            window: of the layer that asks; masks of a kind of layer are made once.
        """
        bound = window if window is not None and window < self._longest else None
        if bound not in self._masks:
            self._masks[bound] = [self._mask(trunk, piece, bound) for trunk, piece in self.pieces]
        return self._masks[bound]

    def _mask(self, trunk: Span, piece: Span, window: int | None) -> Tensor | None:
        queries, keys = _columns(piece), _columns(trunk)
        if piece != trunk:
            keys = np.concatenate([keys, queries])
        elif window is None and not self.layout.block[keys].any():
            return None
        hidden = ~visibility(self.layout, queries, keys, window)
        mask = np.where(hidden, np.float32(-np.inf), np.float32(0.0))[None, None]
        return torch.from_numpy(mask).to(self.device, self.dtype)


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
    trie: PackedAttention | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """One layer's attention in the calling convention of `transformers`: [1, columns, heads, head size]."""
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    if trie is not None:
        scores = Scores(scaling, softcap, dropout)
        return trie(module.layer_idx, query, key, value, sliding_window, scores).transpose(1, 2), None
    if softcap is not None:
        shared = query.shape[1] // key.shape[1]
        keys, values = repeat_kv(key, shared), repeat_kv(value, shared)
        capped = capped_attention(query, keys, values, attention_mask, softcap, scaling, dropout)
        return capped.transpose(1, 2).contiguous(), None
    result: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return result


def attend(
    query: Heads,
    key: Heads,
    value: Heads,
    mask: Tensor | None,
    scores: Scores,
    fused: Callable[..., Heads] = scaled_dot_product_attention,
) -> Heads:
    """One piece; without a mask it is causal.

    Args:
        query: and key and value, as many heads each.
        mask: added to the scores.
        scores: how they weigh.
        fused: computes it where nothing is capped.
    """
    if scores.softcap is not None:
        return capped_attention(query, key, value, mask, scores.softcap, scores.scaling, scores.dropout)
    return fused(
        query, key, value, attn_mask=mask, is_causal=mask is None, dropout_p=scores.dropout, scale=scores.scaling
    )


def capped_attention(
    query: Heads,
    key: Heads,
    value: Heads,
    mask: Tensor | None,
    softcap: float,
    scaling: float | None,
    dropout: float = 0.0,
) -> Heads:
    """Attention whose scores are squashed into (-softcap, softcap) before the mask (Gemma 2, section 2).

    Args:
        query: and key and value, as many heads each.
        mask: boolean, True where seen; or added to the scores; None: causal, queries at the end of the keys.
        softcap: the bound.
        scaling: of the scores; None: one over the root of the head size.
        dropout: probability.
    """
    scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = softcap * torch.tanh(scores / softcap)
    if mask is None:
        mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril(scores.shape[-1] - scores.shape[-2])
    mask = mask[..., : scores.shape[-1]]
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.nn.functional.dropout(weights, dropout) @ value


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


def _columns(span: Span) -> Index:
    return np.arange(span.start, span.start + span.length)
