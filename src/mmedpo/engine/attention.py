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
from torch.autograd import Function
from torch.nn.functional import scaled_dot_product_attention

from mmedpo.engine.layout import Layout, Span, dense_visibility

TRIE_ATTENTION = "mmedpo_trie"
"""Name of this attention in `transformers`."""

Heads = Tensor
"""[1, heads, columns, head size]: queries, keys or values of a layout."""


class Bucket(NamedTuple):
    """Spans of similar length that one call of attention serves, padded at their ends."""

    start: int
    """First row of this bucket among the rows of all buckets."""
    spans: int
    """Number of spans."""
    width: int
    """Rows of each span, padding included."""
    trunk: int
    """For groups: number of the bucket that holds their trunks; -1 for trunks."""
    of_trunk: Tensor | None
    """[spans] for groups: each one's trunk within that bucket."""
    mask: Tensor | None
    """[spans, 1, width, trunk width + width] 0 where a query sees a key, else -inf; None: causal."""


class TrieAttention(NamedTuple):
    """What attention needs to know of a layout, on the model's device.

    Columns are sorted into buckets and back by two permutations, so that either way, forward and
    backward, is a gather of whole rows.
    """

    buckets: tuple[Bucket, ...]
    """Trunks before groups; together they answer every column once."""
    column: Tensor
    """[rows] column of each row of the buckets; `columns` (one past the last) for padding."""
    row: Tensor
    """[columns] row of each column."""


def trie_attention(layout: Layout, device: torch.device, dtype: torch.dtype) -> TrieAttention:
    """Prepares the attention of a layout; shared by all layers of one forward pass."""
    trunks: dict[int, list[Span]] = defaultdict(list)
    groups: dict[tuple[int, int], list[tuple[int, Span, Span]]] = defaultdict(list)
    for tree in layout.trees:
        of_size = trunks[_size_class(tree.trunk.length)]
        of_size.append(tree.trunk)
        for group in tree.groups:
            key = (_size_class(tree.trunk.length), _size_class(group.length))
            groups[key].append((len(of_size) - 1, tree.trunk, group))
    buckets: list[Bucket] = []
    columns: list[NDArray[np.int64]] = []
    number_of: dict[int, int] = {}
    start = 0
    for size, spans in trunks.items():
        number_of[size] = len(buckets)
        columns.append(_columns(spans, layout.columns))
        buckets.append(Bucket(start, len(spans), columns[-1].shape[1], -1, None, None))
        start += columns[-1].size
    for (size, _), members in groups.items():
        trunk = buckets[number_of[size]]
        columns.append(_columns([group for _, _, group in members], layout.columns))
        spans, width = columns[-1].shape
        mask = _group_mask(layout, [(t, g) for _, t, g in members], trunk.width, width)
        of_trunk = torch.tensor([number for number, _, _ in members], device=device)
        buckets.append(Bucket(start, spans, width, number_of[size], of_trunk, torch.from_numpy(mask).to(device, dtype)))
        start += columns[-1].size
    column = np.concatenate([part.ravel() for part in columns])
    row = np.empty(layout.columns + 1, dtype=np.int64)
    row[column] = np.arange(len(column))
    return TrieAttention(
        tuple(buckets), torch.from_numpy(column).to(device), torch.from_numpy(row[:-1].copy()).to(device)
    )


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
    queries, keys, values = (
        _permuted(heads[0].transpose(0, 1), trie.column, trie.row) for heads in (query, key, value)
    )
    answers = []
    for bucket in trie.buckets:
        q, k, v = (_part(rows, bucket) for rows in (queries, keys, values))
        if bucket.of_trunk is not None:
            trunk = trie.buckets[bucket.trunk]
            k, v = (
                torch.cat([_repeated(_part(rows, trunk), bucket.of_trunk), own], dim=1)
                for rows, own in ((keys, k), (values, v))
            )
        answers.append(_attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), bucket.mask, dropout, scaling))
    return _permuted(torch.cat(answers), trie.row, trie.column).unsqueeze(0), None


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float, scaling: float | None) -> Tensor:
    """[spans * width, heads, head size] from [spans, heads, width, head size]."""
    repeats = q.shape[1] // k.shape[1]
    if repeats > 1:
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
    answer = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, dropout_p=dropout, scale=scaling
    )
    return answer.transpose(1, 2).flatten(0, 1)


def _part(rows: Tensor, bucket: Bucket) -> Tensor:
    """[spans, width, heads, head size] of one bucket."""
    part = rows[bucket.start : bucket.start + bucket.spans * bucket.width]
    return part.view(bucket.spans, bucket.width, *rows.shape[1:])


def _permuted(rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
    result: Tensor = _Permuted.apply(rows, index, back)  # type: ignore[no-untyped-call]
    return result


def _repeated(trunks: Tensor, of_group: Tensor) -> Tensor:
    result: Tensor = _Repeated.apply(trunks, of_group)  # type: ignore[no-untyped-call]
    return result


class _Permuted(Function):
    """Rows in another order, with rows of zeros where `index` points past the end.

    `back` is the inverse: the gradient of a gather would be a scatter, which is far slower, but
    the gradient of a permutation is the inverse gather.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return _take(rows, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return _take(gradients[0], back), None, None


class _Repeated(Function):
    """Trunks [trunks, width, heads, head size], each as often as groups grow from it."""

    @staticmethod
    def forward(ctx: Any, trunks: Tensor, of_group: Tensor) -> Tensor:
        ctx.save_for_backward(of_group)
        ctx.trunks = len(trunks)
        return trunks.index_select(0, of_group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (of_group,) = ctx.saved_tensors
        (gradient,) = gradients
        return gradient.new_zeros(ctx.trunks, *gradient.shape[1:]).index_add_(0, of_group, gradient), None


def _take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows by index; an index of `len(rows)` gives zeros."""
    if len(index) > len(rows):
        rows = torch.cat([rows, rows.new_zeros(1, *rows.shape[1:])])
    return rows.index_select(0, index)


def _size_class(length: int) -> int:
    """Spans of one class differ in length by less than a factor of two."""
    return length.bit_length()


def _columns(spans: Sequence[Span], padding: int) -> NDArray[np.int64]:
    """[spans, longest] columns of every span, `padding` behind the shorter ones."""
    offsets = np.arange(max(span.length for span in spans))
    return np.stack([np.where(offsets < span.length, span.start + offsets, padding) for span in spans])


def _group_mask(layout: Layout, pairs: Sequence[tuple[Span, Span]], prefix: int, own: int) -> NDArray[np.float32]:
    """[groups, 1, own, prefix + own] 0 where a query of a group sees a column of its trunk or of itself."""
    mask = np.full((len(pairs), 1, own, prefix + own), -np.inf, dtype=np.float32)
    for number, (trunk, group) in enumerate(pairs):
        # Padding queries see the trunk as well: an answer nobody reads, but not one that is not a number.
        mask[number, 0, :, : trunk.length] = 0.0
        seen = dense_visibility(layout, group)
        mask[number, 0, : group.length, prefix : prefix + group.length][seen] = 0.0
    return mask
