"""Attention over a layout, in the portable prefix-group form.

Trunks attend causally, one call for all of a length. Groups attend to their trunk and, by a small
mask, to themselves. No query is ever compared with the tokens of another group, so attention costs
what the trie costs, not the square of the batch; every call is `scaled_dot_product_attention`.

The function is registered with `transformers` under a name; a model set to it takes a
`trie=TrieAttention` argument through its own, unchanged forward pass, and computes ordinary SDPA
attention wherever that argument is not given (generation, plain sequences).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmedpo.engine.layout import Layout, Span, dense_visibility

TRIE_ATTENTION = "mmedpo_trie"
"""Name of this attention in `transformers`."""

Heads = Tensor
"""[1, heads, columns, head size]: queries, keys or values of a layout."""


class Bucket(NamedTuple):
    """Spans of similar length that one call serves; shorter ones are padded with a repeated column."""

    query: Tensor
    """[spans, queries] column of each query."""
    context: Tensor | None
    """[spans, keys] column of each key; None: the queries' own columns, causally."""
    mask: Tensor | None
    """[spans, 1, queries, keys] 0 where a query sees a key, -inf elsewhere; None with causal attention."""


class TrieAttention(NamedTuple):
    """What attention needs to know of a layout, on the model's device."""

    buckets: tuple[Bucket, ...]
    """Together they answer every column once."""
    place: Tensor
    """[columns] where, among all buckets' queries in order, a column's answer lies."""


def trie_attention(layout: Layout, device: torch.device, dtype: torch.dtype) -> TrieAttention:
    """Prepares the attention of a layout; shared by all layers of one forward pass."""
    trunks: dict[int, list[Span]] = defaultdict(list)
    groups: dict[int, list[tuple[Span, Span]]] = defaultdict(list)
    for tree in layout.trees:
        trunks[_size_class(tree.trunk.length)].append(tree.trunk)
        for group in tree.groups:
            groups[_size_class(group.length)].append((tree.trunk, group))
    buckets, answered = [], []
    for spans in trunks.values():
        query = _columns(spans)
        answered.append(query)
        buckets.append(Bucket(torch.from_numpy(query).to(device), None, None))
    for pairs in groups.values():
        own, prefix = _columns([group for _, group in pairs]), _columns([trunk for trunk, _ in pairs])
        answered.append(own)
        mask = torch.from_numpy(_group_mask(layout, pairs, prefix.shape[1], own.shape[1])).to(device, dtype)
        context = torch.from_numpy(np.concatenate([prefix, own], axis=1)).to(device)
        buckets.append(Bucket(torch.from_numpy(own).to(device), context, mask))
    place = np.empty(layout.columns, dtype=np.int64)
    flat = np.concatenate([part.ravel() for part in answered])
    # Backwards, so that a column's own answer, not one of its repetitions as padding, is what stands.
    place[flat[::-1]] = np.arange(len(flat))[::-1]
    return TrieAttention(tuple(buckets), torch.from_numpy(place).to(device))


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
    if trie is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        result: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    # [columns, heads, head size]: a column's numbers lie together, so that gathering copies whole rows.
    rows = [heads[0].transpose(0, 1) for heads in (query, key, value)]
    answers = []
    for bucket in trie.buckets:
        context = bucket.query if bucket.context is None else bucket.context
        queries, keys, values = (
            _gather(row, index) for row, index in zip(rows, (bucket.query, context, context), strict=True)
        )
        repeats = queries.shape[1] // keys.shape[1]
        if repeats > 1:
            keys, values = keys.repeat_interleave(repeats, dim=1), values.repeat_interleave(repeats, dim=1)
        answer = scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=bucket.mask,
            is_causal=bucket.mask is None,
            dropout_p=dropout,
            scale=scaling,
        )
        answers.append(answer.transpose(1, 2).flatten(0, 1))
    return torch.cat(answers).index_select(0, trie.place).unsqueeze(0), None


def _gather(rows: Tensor, index: Tensor) -> Tensor:
    """[spans, heads, width, head size] of the given columns [spans, width]."""
    return rows.index_select(0, index.flatten()).view(*index.shape, *rows.shape[1:]).transpose(1, 2)


def _size_class(length: int) -> int:
    """Spans of one class differ in length by less than a factor of two."""
    return length.bit_length()


def _columns(spans: Sequence[Span]) -> NDArray[np.int64]:
    """[spans, longest] columns of every span, its last one repeated as padding."""
    offsets = np.arange(max(span.length for span in spans))
    return np.stack([span.start + np.minimum(offsets, span.length - 1) for span in spans])


def _group_mask(layout: Layout, pairs: Sequence[tuple[Span, Span]], prefix: int, own: int) -> NDArray[np.float32]:
    """[groups, 1, own, prefix + own] 0 where a query of a group sees a column of its trunk or of itself."""
    mask = np.full((len(pairs), 1, own, prefix + own), -np.inf, dtype=np.float32)
    for number, (trunk, group) in enumerate(pairs):
        # Padding queries see the trunk as well: an answer nobody reads, but not one that is not a number.
        mask[number, 0, :, : trunk.length] = 0.0
        seen = dense_visibility(layout, group)
        mask[number, 0, : group.length, prefix : prefix + group.length][seen] = 0.0
    return mask
