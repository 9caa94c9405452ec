"""Attention while answers are decoded: each new token sees its own prompt and its own answer so far.

The keys and values of the prompts lie where the pass over their trie left them: an image once, whatever
number of questions and samples goes on from it. All rows that go on from one image attend in one product,
and a mask hides from each what is not its own; no key is copied for a row, and no row is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmedpo.engine.attention import Heads, Scores, TrieAttention, attend
from mmedpo.engine.layout import Index, Layout, Span

MERGED = 512
"""Trees are attended to together up to so many columns: below, a product costs less than starting another."""
ROOM = 16
"""Steps for which keys and values get room at a time."""


class PromptAttention(TrieAttention):
    """Attention of the pass over the prompts; notes keys and values for what goes on from them."""

    def __init__(self, layout: Layout, device: torch.device, dtype: torch.dtype, into: Continuation) -> None:
        super().__init__(layout, device, dtype)
        self.into = into

    def __call__(self, layer: int, query: Heads, key: Heads, value: Heads, window: int | None, scores: Scores) -> Heads:
        """See `PackedAttention`."""
        self.into.note(layer, key, value)
        return super().__call__(layer, query, key, value, window, scores)


@dataclass
class _Piece:
    """Rows that attend together, and what they may see."""

    span: Span
    """Their prompts' columns of the layout."""
    rows: list[int]
    """Those that still go on, ascending."""
    seen: Tensor
    """[rows, keys] True where a row sees a key."""
    depth: Tensor
    """[keys] tokens of its own conversation before a key's."""
    kept: dict[int, tuple[Heads, Heads]] = field(default_factory=dict)
    """Keys and values by layer, with room for more behind them."""

    def advance(self, running: frozenset[int], depth: Tensor) -> None:
        """Rows that ended leave; each of the others gets one more key, seen by itself alone."""
        stay = [place for place, row in enumerate(self.rows) if row in running]
        self.rows = [self.rows[place] for place in stay]
        own = torch.eye(len(stay), dtype=torch.bool, device=self.seen.device)
        self.seen = torch.cat([self.seen[stay], own], dim=1)
        self.depth = torch.cat([self.depth, depth[self.rows]])

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[rows, keys] 0 where seen, else -inf."""
        seen = self.seen
        if window is not None:
            seen = seen & (self.depth[-len(self.rows) :, None] - self.depth < window)
        return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, float("-inf"))

    def extend(self, layer: int, key: Heads, value: Heads) -> tuple[Heads, Heads]:
        """The layer's keys and values with those of the newest tokens."""
        end, new = self.seen.shape[1], len(self.rows)
        if end > self.kept[layer][0].shape[2]:
            room = (end - new + new * ROOM, end - new)
            self.kept[layer] = (_with_room(self.kept[layer][0], *room), _with_room(self.kept[layer][1], *room))
        keys, values = self.kept[layer]
        keys[:, :, end - new : end], values[:, :, end - new : end] = key, value
        return keys[:, :, :end], values[:, :, :end]


class Continuation:
    """Rows that go on from the prompts of a layout, a token each at a time, in one sequence; a `PackedAttention`.

    Args:
        layout: of the prompts.
        prompts: [tokens] columns of each row's prompt; rows of one tree stand together, in the trees' order.
        device: the model's.
        dtype: arithmetic type of the masks.
    """

    def __init__(self, layout: Layout, prompts: Sequence[Index], device: torch.device, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._depth = torch.tensor([len(columns) for columns in prompts], device=device)
        """[rows] of the next token of each."""
        depth = torch.from_numpy(layout.depth).to(device)
        self._pieces = []
        for span in _merged(layout):
            end = span.start + span.length
            rows = [row for row, columns in enumerate(prompts) if span.start <= columns[0] < end]
            seen = torch.zeros(len(rows), span.length, dtype=torch.bool)
            for place, row in enumerate(rows):
                seen[place, torch.from_numpy(prompts[row] - span.start)] = True
            self._pieces.append(_Piece(span, rows, seen.to(device), depth[span.start : end]))
        self._masks: dict[int | None, list[Tensor]] = {}

    def note(self, layer: int, key: Heads, value: Heads) -> None:
        """Takes the keys and values of the prompts."""
        for piece in self._pieces:
            piece.kept[layer] = (key.narrow(2, *piece.span), value.narrow(2, *piece.span))

    def advance(self, running: Sequence[int]) -> None:
        """Before a pass over one more token of each of these rows, ascending, none of which has ended before."""
        for piece in self._pieces:
            piece.advance(frozenset(running), self._depth)
        self._pieces = [piece for piece in self._pieces if piece.rows]
        self._depth += 1
        self._masks.clear()

    def __call__(self, layer: int, query: Heads, key: Heads, value: Heads, window: int | None, scores: Scores) -> Heads:
        """See `PackedAttention`; one column for each running row."""
        heads, own = query.shape[1], key.shape[1]
        sizes = [len(piece.rows) for piece in self._pieces]
        if window not in self._masks:
            # Queries that share a head of keys stand below each other: keys are not copied for them either.
            masks = (piece.mask(window, self.dtype) for piece in self._pieces)
            self._masks[window] = [mask.repeat(heads // own, 1)[None, None] for mask in masks]
        split = (torch.split(part, sizes, dim=2) for part in (query, key, value))
        answers = []
        for piece, mask, q, k, v in zip(self._pieces, self._masks[window], *split, strict=True):
            keys, values = piece.extend(layer, k, v)
            below = q.reshape(1, own, -1, q.shape[-1])
            answers.append(attend(below, keys, values, mask, scores).reshape(q.shape))
        return torch.cat(answers, dim=2)


def _merged(layout: Layout) -> list[Span]:
    """Trees, neighbours joined while they are small."""
    spans: list[Span] = []
    for tree in layout.trees:
        length = sum(span.length for span in (tree.trunk, *tree.groups))
        if spans and spans[-1].length + length <= MERGED:
            spans[-1] = Span(spans[-1].start, spans[-1].length + length)
        else:
            spans.append(Span(tree.trunk.start, length))
    return spans


def _with_room(heads: Heads, length: int, used: int) -> Heads:
    """The same in memory for so many columns."""
    roomy = heads.new_empty(1, heads.shape[1], length, heads.shape[3])
    roomy[:, :, :used] = heads[:, :, :used]
    return roomy
