"""Filling forward passes: units of work into bins of at most so many trie tokens. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.engine.trie import Symbols, Trie
from mmedpo.errors import TrainingError

SHARED = 0.1
"""Share of a unit's tokens that a bin must save it to be worth growing beyond what is enough."""


def fill_bins(
    units: Sequence[Sequence[Symbols]], max_tokens: int, setting: str, enough: int | None = None
) -> list[list[int]]:
    """Puts units into bins, in order, a new bin whenever the next unit does not fit.

    Args:
        units: each a few sequences that must be computed together; neighbours that share prefixes
            should stand together.
        max_tokens: largest number of trie tokens in one bin.
        enough: a bin of so many tokens takes in only units it shares something with (None: any that fit):
            where larger passes are no faster, they would only take memory.
        setting: name of the setting behind `max_tokens`, for the message.

    Returns:
        Numbers of units, bin by bin; every unit once, in order.

    Raises:
        TrainingError: one unit alone is larger than a bin.
    """
    bins: list[list[int]] = []
    trie = Trie()
    for number, unit in enumerate(units):
        alone = _trie(unit)
        if alone.tokens > max_tokens:
            longest = max(len(sequence) for sequence in unit)
            raise TrainingError(
                f"{len(unit)} answers that must be computed together take {alone.tokens} tokens (the longest "
                f"sequence {longest}), more than {setting}={max_tokens}; raise {setting}"
            )
        before = trie.tokens
        brought = sum(trie.insert(sequence) for sequence in unit)
        full = enough is not None and before >= enough and brought > (1 - SHARED) * alone.tokens
        if not bins or full or trie.tokens > max_tokens:
            trie = alone
            bins.append([])
        bins[-1].append(number)
    return bins


def _trie(unit: Sequence[Symbols]) -> Trie:
    trie = Trie()
    for sequence in unit:
        trie.insert(sequence)
    return trie
