"""A batch as a radix trie: what several sequences begin with alike is stored, and computed, once. Pure.

Sequences are arrays of *symbols*, 64-bit integers: two positions are the same work exactly when
everything up to and including them is equal. Text tokens are their own symbols (>= 0); image tokens
get negative ones that name image and offset (`mmedpo.engine.layout`), so that two pictures never
count as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.int64]
"""[tokens] of one sequence, or of a part of one."""


@dataclass
class Node:
    """A run of symbols that every sequence passing through it shares."""

    symbols: Symbols
    """What this node adds to the prefix that leads to it; never empty."""
    branches: dict[int, Node] = field(default_factory=dict)
    """Continuations by their first symbol, in order of first appearance."""
    members: list[int] = field(default_factory=list)
    """Numbers of the sequences that end with this node."""

    @property
    def children(self) -> list[Node]:
        """Continuations, in order of first appearance."""
        return list(self.branches.values())

    @property
    def tokens(self) -> int:
        """Symbols of this node and of everything below it."""
        return sum(len(node.symbols) for node in self.walk())

    def walk(self) -> Iterator[Node]:
        """This node and all below it, depth first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def split(self, at: int) -> None:
        """Ends this node after `at` symbols; a new only child takes the rest."""
        rest = Node(self.symbols[at:], self.branches, self.members)
        self.symbols, self.branches, self.members = self.symbols[:at], {int(rest.symbols[0]): rest}, []


class Trie:
    """A radix trie that counts its tokens while it grows.

    Every path from a root to a node spells a prefix that some sequence has, and no two paths spell
    the same; `tokens` is the number of distinct prefixes.
    """

    def __init__(self) -> None:
        self.roots: dict[int, Node] = {}
        """First nodes by their first symbol, in order of first appearance."""
        self.tokens = 0
        """Symbols of all nodes: what one forward pass over the trie computes."""
        self.size = 0
        """Sequences inserted; the next one gets this number."""

    def insert(self, sequence: Symbols) -> int:
        """Adds a sequence of at least one symbol; returns how many tokens it brought that were not there."""
        number, level, start = self.size, self.roots, 0
        self.size += 1
        while True:
            node = level.get(int(sequence[start]))
            if node is None:
                level[int(sequence[start])] = Node(sequence[start:], members=[number])
                self.tokens += len(sequence) - start
                return len(sequence) - start
            agree = _agreement(node.symbols, sequence[start:])
            if agree < len(node.symbols):
                node.split(agree)
            start += agree
            if start == len(sequence):
                node.members.append(number)
                return 0
            level = node.branches


def _agreement(left: Symbols, right: Symbols) -> int:
    """Length of the common beginning of two runs."""
    length = min(len(left), len(right))
    differs = left[:length] != right[:length]
    return int(differs.argmax()) if differs.any() else length
