"""Items that share something, through any chain, as groups. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

K = TypeVar("K", bound=Hashable)


def linked(keys: Sequence[Sequence[K]]) -> list[K]:
    """Groups items that share a key, through any chain; each item gets the smallest key of its group.

    Args:
        keys: for every item its keys, at least one each, all mutually comparable.
    """
    parent: dict[K, K] = {}

    def root(key: K) -> K:
        top = parent.setdefault(key, key)
        while parent[top] != top:
            top = parent[top]
        while parent[key] != top:
            parent[key], key = top, parent[key]
        return top

    for item in keys:
        for key in item:
            low, high = sorted((root(item[0]), root(key)))  # type: ignore[type-var]
            parent[high] = low
    return [root(item[0]) for item in keys]
