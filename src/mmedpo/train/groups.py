"""From preference pairs to groups of branches: what stays together in an optimizer step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from mmedpo.config import Grouping
from mmedpo.engine import Branch, build_branch
from mmedpo.errors import TrainingError
from mmedpo.imaging.pictures import views_of
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import PairKind, PreferencePair

MINIMUM_PAIRS = 4
"""Fewer pairs than this are refused: nothing trains on next to nothing."""

TokenWeights = tuple[float, ...]
"""One weight per answer token; empty: all 1."""


@dataclass(frozen=True)
class BranchPair:
    """One pair as token ids and image views."""

    pair_id: str
    """Key of the preference pair."""
    kind: PairKind
    """Text or visual."""
    chosen: Branch
    """(y_w, x)"""
    rejected: Branch
    """(y_l, x*)"""
    weight: float
    """s' of Eq. 3."""
    chosen_weights: TokenWeights = ()
    """Weights of the tokens of y_w."""
    rejected_weights: TokenWeights = ()
    """Weights of the tokens of y_l."""


Group = list[BranchPair]
"""Pairs that stay together in an optimizer step."""


def group_pairs(
    vlm: VisionLanguageModel,
    pairs: Sequence[PreferencePair],
    image_root: Path,
    run_root: Path,
    *,
    max_length: int,
    grouping: Grouping = "example",
    edited_token_weight: float = 1.0,
) -> list[Group]:
    """Tokenises the pairs and groups them, in first-seen order.

    Raises:
        TrainingError: too few pairs, a missing weight, sides that do not differ, or a pair longer
            than `max_length`.
    """
    if len(pairs) < MINIMUM_PAIRS:
        raise TrainingError(
            f"{len(pairs)} preference pairs, at least {MINIMUM_PAIRS} are needed; see the counted drops"
        )
    groups: dict[str, Group] = {}
    for pair in pairs:
        if pair.weight is None:
            raise TrainingError(f"pair {pair.pair_id} has no weight; run `mmedpo score RUN` first")
        clean, shown = views_of(pair, image_root, run_root)
        chosen = build_branch(vlm, clean, pair.question, pair.chosen, max_length=max_length, owner=pair.pair_id)
        rejected = build_branch(vlm, shown, pair.question, pair.rejected, max_length=max_length, owner=pair.pair_id)
        if chosen == rejected:
            raise TrainingError(f"pair {pair.pair_id}: chosen and rejected side are the same tokens on the same image")
        weights: tuple[TokenWeights, TokenWeights] = ((), ())
        if edited_token_weight != 1.0 and pair.kind == "text":
            weights = edited_tokens(chosen.response, rejected.response, edited_token_weight)
        key = {"none": pair.pair_id, "example": pair.example_id, "image": pair.image.sha256}[grouping]
        groups.setdefault(key, []).append(BranchPair(pair.pair_id, pair.kind, chosen, rejected, pair.weight, *weights))
    if not any(pair.weight for group in groups.values() for pair in group):
        raise TrainingError("every pair has weight 0: there is nothing to learn; see score.weights")
    return list(groups.values())


def edited_tokens(chosen: Sequence[int], rejected: Sequence[int], weight: float) -> tuple[TokenWeights, TokenWeights]:
    """Weights of both answers' tokens: `weight` where the answers differ, 1 where they agree.

    Dense DPO of RLHF-V (Yu et al. 2023, Eq. 4) without its length normaliser: sums, as everywhere here.
    """
    sides = [[weight] * len(chosen), [weight] * len(rejected)]
    for block in SequenceMatcher(None, chosen, rejected, autojunk=False).get_matching_blocks():
        for side, start in zip(sides, (block.a, block.b), strict=True):
            side[start : start + block.size] = [1.0] * block.size
    return tuple(sides[0]), tuple(sides[1])


def families(pairs: Sequence[BranchPair]) -> list[list[BranchPair]]:
    """Pairs that share their preferred branch, families on one image next to each other, else in order."""
    by_view: dict[tuple[Path, ...], dict[Branch, list[BranchPair]]] = {}
    for pair in pairs:
        by_view.setdefault(pair.chosen.views, {}).setdefault(pair.chosen, []).append(pair)
    return [family for of_view in by_view.values() for family in of_view.values()]


def branches_of(pairs: Sequence[BranchPair]) -> list[Branch]:
    """Every distinct branch of the pairs, in first-seen order."""
    return list(dict.fromkeys(branch for pair in pairs for branch in (pair.chosen, pair.rejected)))
