"""Filling forward passes: units of work into bins of at most so many trie tokens. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.engine.trie import Symbols, Trie
from mmedpo.errors import TrainingError


def fill_bins(units: Sequence[Sequence[Symbols]], max_tokens: int, setting: str) -> list[list[int]]:
    """Puts units into bins, in order, a new bin whenever the next unit does not fit.

    Args:
        units: each a few sequences that must be computed together; neighbours that share prefixes
            should stand together.
        max_tokens: largest number of trie tokens in one bin.
        setting: name of the setting behind `max_tokens`, for the message.

    Returns:
        Numbers of units, bin by bin; every unit once, in order.

    Raises:
        TrainingError: one unit alone is larger than a bin.
    """
    bins: list[list[int]] = []
    trie = Trie()
    for number, unit in enumerate(units):
        if bins:
            for sequence in unit:
                trie.insert(sequence)
        if not bins or trie.tokens > max_tokens:
            trie = Trie()
            for sequence in unit:
                trie.insert(sequence)
            if trie.tokens > max_tokens:
                longest = max(len(sequence) for sequence in unit)
                raise TrainingError(
                    f"{len(unit)} answers that must be computed together take {trie.tokens} tokens (the longest "
                    f"sequence {longest}), more than {setting}={max_tokens}; raise {setting}"
                )
            bins.append([])
        bins[-1].append(number)
    return bins
