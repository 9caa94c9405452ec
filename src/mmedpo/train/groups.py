"""From preference pairs to groups of branches: what one training example brings to a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmedpo.engine import Branch, build_branch
from mmedpo.errors import TrainingError
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import PreferencePair

MINIMUM_PAIRS = 4
"""Fewer pairs than this are refused: nothing trains on next to nothing."""


@dataclass(frozen=True)
class BranchPair:
    """One pair as token ids and image views."""

    pair_id: str
    """Key of the preference pair."""
    chosen: Branch
    """(y_w, x)"""
    rejected: Branch
    """(y_l, x*)"""
    weight: float
    """s' of Eq. 3."""


def group_pairs(
    vlm: VisionLanguageModel, pairs: Sequence[PreferencePair], image_root: Path, run_root: Path, max_length: int
) -> list[list[BranchPair]]:
    """Groups the pairs of one example together (text and visual pair share a step), in first-seen order.

    Raises:
        TrainingError: too few pairs, a missing weight, sides that do not differ, or a pair longer
            than `max_length`.
    """
    if len(pairs) < MINIMUM_PAIRS:
        raise TrainingError(
            f"{len(pairs)} preference pairs, at least {MINIMUM_PAIRS} are needed; see the counted drops"
        )
    groups: dict[str, list[BranchPair]] = {}
    for pair in pairs:
        if pair.weight is None:
            raise TrainingError(f"pair {pair.pair_id} has no weight; run `mmedpo score RUN` first")
        clean = image_root / pair.image.path
        shown = clean if pair.rejected_image_path is None else run_root / pair.rejected_image_path
        branch_pair = BranchPair(
            pair.pair_id,
            build_branch(vlm, clean, pair.question, pair.chosen, max_length=max_length, owner=pair.pair_id),
            build_branch(vlm, shown, pair.question, pair.rejected, max_length=max_length, owner=pair.pair_id),
            pair.weight,
        )
        if branch_pair.chosen == branch_pair.rejected:
            raise TrainingError(f"pair {pair.pair_id}: chosen and rejected side are the same tokens on the same image")
        groups.setdefault(pair.example_id, []).append(branch_pair)
    if not any(pair.weight for group in groups.values() for pair in group):
        raise TrainingError("every pair has weight 0: there is nothing to learn; see score.weights")
    return list(groups.values())
