"""A batch of branches laid out as one sequence without padding: a forest of tries, depth first. Pure.

Each tree is a *trunk* (what all its branches begin with: the image, and the question where there is
one) followed by *groups* (what comes after: a question with its answers). A token sees its ancestors
and itself, and its position is its depth, so one forward pass gives every branch's log-probabilities
as one sequence per branch would.

Sharing is not always worth it: two images that only have the opening of the chat template in common
are two trees, because attention inside one big tree would cost more than repeating two tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmedpo.engine.branches import Branch
from mmedpo.engine.trie import Node, Symbols, Trie
from mmedpo.models.family import BothWays

Index = NDArray[np.int64]
Describe = Callable[[Branch], Sequence[Index]]
"""Columns of each view's tokens in a branch's prompt, view by view."""


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

    ids: Index
    """[columns] token ids, placeholders included."""
    depth: Index
    """[columns] how many tokens of its own conversation come before."""
    end: Index
    """[columns] one past the last column that sees this one: column i sees j where j <= i < end[j]."""
    block: Index
    """[columns] number (> 0) of the block of columns that all see each other, 0 outside of any."""
    trees: tuple[Tree, ...]
    """In column order; together they cover every column."""
    pictures: tuple[Path, ...]
    """Images in the order of their columns; one at the head of two trees comes twice."""
    columns_of: tuple[Index, ...]
    """For each branch, the columns of its prompt and its answer without the last token."""
    parent: Index
    """[targets] column that predicts a target token."""
    target: Index
    """[targets] the token id to be predicted."""
    branch: Index
    """[targets] the branch it belongs to; the targets of a branch stand together, in order."""

    @property
    def columns(self) -> int:
        """Tokens of one forward pass."""
        return len(self.ids)


@dataclass(frozen=True)
class Named:
    """What the negative symbols of a batch stand for: entry n is of symbol -(1 + n)."""

    ids: list[int] = field(default_factory=list)
    """Token ids."""
    first: set[int] = field(default_factory=set)
    """Entries that begin something its tokens may see whole: an image, or a prompt."""
    pictures: dict[int, Path] = field(default_factory=dict)
    """Entries that begin an image."""

    def add(self, ids: Index) -> int:
        """Names tokens; returns the entry of the first."""
        start = len(self.ids)
        self.first.add(start)
        self.ids.extend(ids.tolist())
        return start


def branch_symbols(
    branches: Sequence[Branch], describe: Describe, *, whole: bool = False
) -> tuple[list[Symbols], Named]:
    """Every branch as symbols, without its last token (which predicts nothing).

    A text token is its own symbol; a token of an image gets a negative one that names image and offset.

    Args:
        branches: any number.
        describe: gives the columns of each view's tokens in a branch's prompt.
        whole: prompts see themselves whole: their symbols name the prompt and the place in it, so that
            only answers to the same prompt share anything.
    """
    named = Named()
    known: dict[Path, int] = {}
    prompts: dict[tuple[tuple[Path, ...], tuple[int, ...]], Symbols] = {}
    sequences = []
    for branch in branches:
        key = (branch.views, branch.prompt)
        if key not in prompts:
            ids = np.array(branch.prompt, dtype=np.int64)
            spans = list(zip(branch.views, describe(branch), strict=True))
            if whole:
                start = named.add(ids)
                named.pictures.update((start + int(columns[0]), view) for view, columns in spans)
                ids = -(1 + start + np.arange(len(ids)))
            for view, columns in () if whole else spans:
                if view not in known:
                    known[view] = named.add(ids[columns])
                    named.pictures[known[view]] = view
                ids[columns] = -(1 + known[view] + np.arange(len(columns)))
            prompts[key] = ids
        sequences.append(np.concatenate([prompts[key], np.array(branch.response[:-1], dtype=np.int64)]))
    return sequences, named


def lay_out(
    branches: Sequence[Branch], describe: Describe, pairs_per_token: float, both_ways: BothWays = "nothing"
) -> Layout:
    """Lays a batch of branches out as a forest.

    Args:
        branches: at least one, each with at least one prompt and one answer token.
        describe: gives the columns of each view's tokens in a branch's prompt.
        pairs_per_token: how many query-key pairs of attention cost as much as passing one token
            through the linear layers; decides where repeating a short prefix beats sharing it.
        both_ways: what a token sees beyond the causal.
    """
    planner = _Planner(pairs_per_token)
    writer = _Writer()
    trie = Trie()
    sequences, named = branch_symbols(branches, describe, whole=both_ways == "prompt")
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
    symbols = np.concatenate(writer.symbols)
    pictures, block = _told_apart(symbols, named)
    return Layout(
        ids=np.where(symbols < 0, np.array([*named.ids, 0])[np.where(symbols < 0, -symbols - 1, -1)], symbols),
        depth=np.concatenate(writer.depth),
        end=np.concatenate(writer.end),
        block=np.zeros_like(block) if both_ways == "nothing" else block,
        trees=tuple(writer.trees),
        pictures=pictures,
        columns_of=tuple(writer.columns_of[number] for number in range(len(branches))),
        parent=np.concatenate(parents),
        target=np.concatenate(targets),
        branch=np.concatenate(owners),
    )


def _told_apart(symbols: Symbols, named: Named) -> tuple[tuple[Path, ...], Index]:
    """Images in column order, and [columns] numbers of what the named columns belong to, copies told apart."""
    entries = np.where(symbols < 0, -symbols - 1, -1)
    opens = np.isin(entries, np.fromiter(named.first, dtype=np.int64, count=len(named.first)))
    begins = np.isin(entries, np.fromiter(named.pictures, dtype=np.int64, count=len(named.pictures)))
    pictures = tuple(named.pictures[entry] for entry in entries[begins].tolist())
    return pictures, opens.cumsum() * (symbols < 0)


def visibility(layout: Layout, queries: Index, keys: Index, window: int | None = None) -> NDArray[np.bool_]:
    """[query, key] True where a column sees another one.

    Args:
        layout: of both.
        queries: columns.
        keys: columns.
        window: how many tokens back, itself included, a layer sees; None: all. Blocks are seen whole.
    """
    query, key = queries[:, None], keys[None, :]
    seen = (key <= query) & (query < layout.end[keys][None, :])
    if window is not None:
        seen &= layout.depth[queries][:, None] - layout.depth[keys][None, :] < window
    block = layout.block[queries][:, None]
    result: NDArray[np.bool_] = seen | ((block == layout.block[keys][None, :]) & (block > 0))
    return result


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
