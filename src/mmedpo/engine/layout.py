"""A batch of branches laid out as one sequence without padding: a forest of tries, depth first. Pure.

Each tree is a *trunk* (what all its branches begin with: the image, and the question where there is
one) followed by *groups* (what comes after: a question with its answers). A token sees its ancestors
and itself, and its position is its depth, so one forward pass gives every branch's log-probabilities
as one sequence per branch would.

Sharing is not always worth it: two images that only have the opening of the chat template in common
are two trees, because attention inside one big tree would cost more than repeating two tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmedpo.engine.branches import Branch
from mmedpo.engine.trie import Node, Symbols, Trie
from mmedpo.errors import ModelError

Index = NDArray[np.int64]


class Span(NamedTuple):
    """Neighbouring columns of a layout."""

    start: int
    """First column."""
    length: int
    """Number of columns."""


@dataclass(frozen=True)
class Tree:
    """One trunk and what grows from it."""

    trunk: Span
    """Columns every branch of this tree begins with."""
    groups: tuple[Span, ...]
    """Subtrees behind the trunk; a group sees the trunk and itself, never another group."""


@dataclass(frozen=True)
class Layout:
    """Where every token of a batch of branches lies."""

    symbols: Symbols
    """[columns] text token id, or the symbol of an image token (negative)."""
    depth: Index
    """[columns] position of the token in its own conversation."""
    end: Index
    """[columns] one past the last column that sees this one: column i sees j where j <= i < end[j]."""
    trees: tuple[Tree, ...]
    """In column order; together they cover every column."""
    views: tuple[Path, ...]
    """Distinct images; image symbol -(1 + view * image_tokens + offset)."""
    parent: Index
    """[targets] column that predicts a target token."""
    target: Index
    """[targets] the token id to be predicted."""
    branch: Index
    """[targets] the branch it belongs to; the targets of a branch stand together, in order."""

    @property
    def columns(self) -> int:
        """Tokens of one forward pass."""
        return len(self.symbols)

    @property
    def image_columns(self) -> Index:
        """Columns that hold an image token."""
        return np.flatnonzero(self.symbols < 0)


def branch_symbols(
    branches: Sequence[Branch], image_token_id: int, image_tokens: int
) -> tuple[list[Symbols], list[Path]]:
    """Every branch as symbols, without its last token (which predicts nothing), and the distinct views.

    Raises:
        ModelError: a branch whose image placeholders are not `image_tokens` per view: a sequence was
            truncated, or its template is wrong.
    """
    number: dict[Path, int] = {}
    prompts: dict[tuple[tuple[Path, ...], tuple[int, ...]], Symbols] = {}
    sequences = []
    for branch in branches:
        key = (branch.views, branch.prompt)
        if key not in prompts:
            ids = np.array(branch.prompt, dtype=np.int64)
            placeholders = np.flatnonzero(ids == image_token_id)
            if len(placeholders) != len(branch.views) * image_tokens or image_token_id in branch.response:
                raise ModelError(
                    f"{len(placeholders)} image placeholders for {len(branch.views)} image(s) of {image_tokens} tokens "
                    "each; a sequence was truncated or its template is wrong"
                )
            offsets = np.arange(image_tokens)
            for i, view in enumerate(branch.views):
                start = 1 + number.setdefault(view, len(number)) * image_tokens
                ids[placeholders[i * image_tokens : (i + 1) * image_tokens]] = -(start + offsets)
            prompts[key] = ids
        sequences.append(np.concatenate([prompts[key], np.array(branch.response[:-1], dtype=np.int64)]))
    return sequences, list(number)


def lay_out(branches: Sequence[Branch], image_token_id: int, image_tokens: int, pairs_per_token: float) -> Layout:
    """Lays a batch of branches out as a forest.

    Args:
        branches: at least one, each with at least one prompt and one answer token.
        image_token_id: id of the placeholder that image features replace.
        image_tokens: placeholders per image.
        pairs_per_token: how many query-key pairs of attention cost as much as passing one token
            through the linear layers; decides where repeating a short prefix beats sharing it.
    """
    sequences, views = branch_symbols(branches, image_token_id, image_tokens)
    planner = _Planner(pairs_per_token)
    writer = _Writer()
    trie = Trie()
    for sequence in sequences:
        trie.insert(sequence)
    for root in trie.roots.values():
        for trunk, groups in planner.trees(root, np.empty(0, dtype=np.int64)):
            writer.add_tree(trunk, groups)
    parents, targets, owners = [], [], []
    for number, branch in enumerate(branches):
        columns = writer.columns_of[number]
        parents.append(columns[len(branch.prompt) - 1 :])
        targets.append(np.array(branch.response, dtype=np.int64))
        owners.append(np.full(len(branch.response), number, dtype=np.int64))
    return Layout(
        symbols=np.concatenate(writer.symbols),
        depth=np.concatenate(writer.depth),
        end=np.concatenate(writer.end),
        trees=tuple(writer.trees),
        views=tuple(views),
        parent=np.concatenate(parents),
        target=np.concatenate(targets),
        branch=np.concatenate(owners),
    )


def dense_visibility(layout: Layout, span: Span | None = None) -> NDArray[np.bool_]:
    """[query, key] True where a column sees another one, over all columns or inside a span."""
    start, length = span or Span(0, layout.columns)
    column = np.arange(start, start + length)
    return (column[None, :] <= column[:, None]) & (column[:, None] < layout.end[None, start : start + length])


class _Planner:
    """Cuts a trie into trees and groups at the least cost of tokens and attention together."""

    def __init__(self, pairs_per_token: float) -> None:
        self.pairs_per_token = pairs_per_token

    def trees(self, node: Node, prefix: Symbols) -> list[tuple[Node, list[Node]]]:
        """Trees as (trunk, groups), from keeping this node's children together or giving each its own trunk."""
        return self._cheapest_trees(node, prefix)[1]

    def _cheapest_trees(self, node: Node, prefix: Symbols) -> tuple[float, list[tuple[Node, list[Node]]]]:
        trunk = Node(np.concatenate([prefix, node.symbols]), members=node.members)
        width = len(trunk.symbols)
        cost, groups = width * self.pairs_per_token + width * width / 2, []
        for child in node.children:
            child_cost, child_groups = self._cheapest_groups(child, width)
            cost += child_cost
            groups += child_groups
        if len(node.children) < 2 or node.members:
            return cost, [(trunk, groups)]
        apart = [self._cheapest_trees(child, trunk.symbols) for child in node.children]
        apart_cost = sum(part for part, _ in apart)
        return (
            (cost, [(trunk, groups)]) if cost <= apart_cost else (apart_cost, [t for _, trees in apart for t in trees])
        )

    def _cheapest_groups(self, node: Node, trunk: int) -> tuple[float, list[Node]]:
        """One group of a subtree, or one per child with this node's symbols repeated."""
        size = node.tokens
        cost = size * self.pairs_per_token + size * (trunk + size)
        if len(node.children) < 2 or node.members:
            return cost, [node]
        apart = []
        for child in node.children:
            longer = Node(np.concatenate([node.symbols, child.symbols]), child.branches, child.members)
            apart.append(self._cheapest_groups(longer, trunk))
        apart_cost = sum(part for part, _ in apart)
        return (
            (cost, [node]) if cost <= apart_cost else (apart_cost, [group for _, groups in apart for group in groups])
        )


class _Writer:
    """Collects the columns of a layout."""

    def __init__(self) -> None:
        self.symbols: list[Symbols] = []
        self.depth: list[Index] = []
        self.end: list[Index] = []
        self.trees: list[Tree] = []
        self.columns_of: dict[int, Index] = {}
        """Columns of every sequence, in order of depth."""
        self.at = 0

    def add_tree(self, trunk: Node, groups: Sequence[Node]) -> None:
        """Appends a trunk and its groups."""
        start, place = self.at, len(self.end)
        path = self._add(trunk.symbols, 0)
        self._note(trunk, path)
        spans = []
        for group in groups:
            first = self.at
            self._descend(group, path)
            spans.append(Span(first, self.at - first))
        self.end[place][:] = self.at
        self.trees.append(Tree(Span(start, len(path)), tuple(spans)))

    def _descend(self, node: Node, path: Index) -> None:
        place = len(self.end)
        own = np.concatenate([path, self._add(node.symbols, len(path))])
        self._note(node, own)
        for child in node.children:
            self._descend(child, own)
        self.end[place][:] = self.at

    def _add(self, symbols: Symbols, depth: int) -> Index:
        columns = np.arange(self.at, self.at + len(symbols), dtype=np.int64)
        self.symbols.append(symbols)
        self.depth.append(np.arange(depth, depth + len(symbols), dtype=np.int64))
        self.end.append(np.empty(len(symbols), dtype=np.int64))
        self.at += len(symbols)
        return columns

    def _note(self, node: Node, path: Index) -> None:
        for member in node.members:
            self.columns_of[member] = path
