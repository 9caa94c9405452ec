"""From preference pairs to groups of branches: what stays together in an optimizer step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from mmedpo.config import Grouping, TrainSettings
from mmedpo.engine import Branch, build_branch
from mmedpo.errors import TrainingError
from mmedpo.imaging.pictures import views_of
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import PairKind, PreferencePair
from mmedpo.seeds import derive_seed
from mmedpo.train.composites import PREFIX, composites

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
    """Text, visual, or the ground truth alone."""
    chosen: Branch
    """(y_w, x)"""
    rejected: Branch | None
    """(y_l, x*); None for the ground truth alone."""
    weight: float
    """s' of Eq. 3, times the factors."""
    chosen_weights: TokenWeights = ()
    """Weights of the tokens of y_w."""
    rejected_weights: TokenWeights = ()
    """Weights of the tokens of y_l."""
    wrong: Branch | None = None
    """(y_l, x) of a visual pair, y_l the wrong answer of its question; None where there is none, or none is wanted."""
    wrong_shown: Branch | None = None
    """(y_l, x*) of the same."""
    edited: tuple[TokenWeights, TokenWeights] | None = None
    """1 for the tokens of the right and of the wrong answer that differ, 0 for the others; None as above."""
    other: Branch | None = None
    """(y_w, x'), x' another image of the step; None where there is none, or none is asked for."""
    inherent: Branch | None = None
    """(y_i, x), y_i the likeliest words behind those of y_w under x*; (y_w, x) until a step draws them; None where none
    are asked for."""

    factual: Branch | None = None
    """(y_w, x_c), x_c a composite; None where none are asked for."""
    factual_wrong: Branch | None = None
    """(y_l, x_c)"""
    counterfactual: Branch | None = None
    """(y_w, x_c*)"""
    counterfactual_wrong: Branch | None = None
    """(y_l, x_c*)"""
    rewards: TokenWeights = ()
    """Of the tokens of y_l, where a term asks for them (`mmedpo.train.rewards`); empty: none."""

    def token_weights(self, branch: Branch, *, edited: bool) -> TokenWeights:
        """Weights of the answer tokens of one of the pair's branches; with `edited`, 0 for those that do not differ."""
        right = branch.response == self.chosen.response
        own = self.chosen_weights if right else self.rejected_weights
        if not edited or self.edited is None:
            return own
        mask = self.edited[0] if right else self.edited[1]
        return tuple(a * b for a, b in zip(own, mask, strict=True)) if own else mask


Group = list[BranchPair]
"""Pairs that stay together in an optimizer step."""


class Wanted(NamedTuple):
    """What an objective looks at beside the two sides of a pair."""

    wrong: bool = False
    """The wrong answer under both images of a visual pair."""
    edited: bool = False
    """Which tokens of right and wrong answer differ."""
    inherent: bool = False
    """What the model says of a visual pair from language alone."""
    composites: Path | None = None
    """Folder of CoMedPO's composites of visual pairs on one image; None: they are not wanted."""


class Kept(NamedTuple):
    """What is kept together in an optimizer step."""

    grouping: Grouping = "example"
    """Nothing, the pairs of a question, or those of an image."""
    most: int | None = None
    """Questions of an image that are kept together; None: all."""
    seed: int = 0
    """Draws which of them, where an image has more."""

    @classmethod
    def of(cls, settings: TrainSettings, seed: int) -> Kept:
        """As a run's settings say."""
        return cls(settings.grouping, settings.group_questions, seed)

    def keys(self, image_of: Mapping[str, str]) -> Mapping[str, str]:
        """Name of the group of every question.

        Args:
            image_of: question -> its image. Groups of one image differ in size by one question at most.
        """
        if self.grouping != "image":
            return {question: question for question in image_of}
        of_image: dict[str, list[str]] = {}
        for question, image in image_of.items():
            of_image.setdefault(image, []).append(question)
        found = {}
        for image, questions in of_image.items():
            groups = -(-len(questions) // (self.most or len(questions)))
            # Neighbours ask of the same thing: what stays together is drawn.
            drawn = sorted(questions, key=lambda question: derive_seed(self.seed, "group", question))
            found.update({question: f"{image}/{place % groups}" for place, question in enumerate(drawn)})
        return found


def group_pairs(
    vlm: VisionLanguageModel,
    pairs: Sequence[PreferencePair],
    image_root: Path,
    run_root: Path,
    *,
    max_length: int,
    kept: Kept = Kept(),  # noqa: B008 - a constant
    edited_token_weight: float = 1.0,
    wanted: Wanted = Wanted(),  # noqa: B008 - a constant
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
    wrong_of = {pair.example_id: pair.rejected for pair in pairs if pair.kind == "text"}
    keys = kept.keys({pair.example_id: pair.image.sha256 for pair in pairs})
    groups: dict[str, Group] = {}
    for pair in pairs:
        if pair.weight is None:
            raise TrainingError(f"pair {pair.pair_id} has no weight; run `mmedpo score RUN` first")
        build = _Builder(vlm, pair, views_of(pair, image_root, run_root), max_length)
        found = build.pair(edited_token_weight, wrong_of.get(pair.example_id), wanted)
        key = pair.pair_id if kept.grouping == "none" else keys[pair.example_id]
        groups.setdefault(key, []).append(found)
    if not any(pair.weight for group in groups.values() for pair in group):
        raise TrainingError("every pair has weight 0: there is nothing to learn; see score.weights")
    return list(groups.values())


@dataclass(frozen=True)
class _Builder:
    """Turns one preference pair into branches."""

    vlm: VisionLanguageModel
    record: PreferencePair
    views: tuple[tuple[Path, ...], tuple[Path, ...]]
    max_length: int

    def pair(self, edited_token_weight: float, wrong: str | None, wanted: Wanted) -> BranchPair:
        """The pair, with what the objective wants beside its two sides; `wrong` is y_l of its question."""
        record, (clean, shown) = self.record, self.views
        assert record.weight is not None
        chosen = self.branch(clean, record.chosen)
        if record.kind == "answer":
            return BranchPair(record.pair_id, record.kind, chosen, None, record.weight)
        rejected = self.branch(shown, record.rejected)
        if chosen == rejected:
            raise TrainingError(
                f"pair {record.pair_id}: chosen and rejected side are the same tokens on the same image"
            )
        found = BranchPair(record.pair_id, record.kind, chosen, rejected, record.weight)
        if edited_token_weight != 1.0 and record.kind == "text":
            weights = edited_tokens(chosen.response, rejected.response, edited_token_weight)
            found = replace(found, chosen_weights=weights[0], rejected_weights=weights[1])
        if record.kind == "visual" and wanted.inherent:
            found = replace(found, inherent=chosen)
        if record.kind == "visual" and wrong is not None and (wanted.wrong or wanted.edited):
            on_clean, on_shown = self.branch(clean, wrong), self.branch(shown, wrong)
            if on_clean.response == chosen.response:
                return found  # a judge preferred another answer than the truth, and the truth to none
            found = replace(found, wrong=on_clean, wrong_shown=on_shown)
            if wanted.composites is not None and len(clean) == 1:
                found = self._composed(found, wanted.composites, wrong)
        other = rejected if record.kind == "text" else found.wrong
        if wanted.edited and other is not None:
            found = replace(found, edited=edited_tokens(chosen.response, other.response, 1.0, kept=0.0))
        return found

    def branch(self, views: Sequence[Path], answer: str, before: str = "") -> Branch:
        """One answer under the images of one side; `before` stands before the question."""
        record, asked = self.record, before + self.record.question
        return build_branch(self.vlm, views, asked, answer, max_length=self.max_length, owner=record.pair_id)

    def _composed(self, pair: BranchPair, folder: Path, wrong: str) -> BranchPair:
        """The pair with both answers under both composites."""
        (clean,), (background,) = self.views
        right = self.record.chosen
        shown, null = composites(clean, background, self.record.image.sha256[:16], folder)
        return replace(
            pair,
            factual=self.branch((shown,), right, PREFIX),
            factual_wrong=self.branch((shown,), wrong, PREFIX),
            counterfactual=self.branch((null,), right, PREFIX),
            counterfactual_wrong=self.branch((null,), wrong, PREFIX),
        )


def edited_tokens(
    chosen: Sequence[int], rejected: Sequence[int], weight: float, kept: float = 1.0
) -> tuple[TokenWeights, TokenWeights]:
    """Weights of both answers' tokens: `weight` where the answers differ, `kept` where they agree.

    Dense DPO of RLHF-V (Yu et al. 2023, Eq. 4) without its length normaliser: sums, as everywhere here.
    """
    sides = [[weight] * len(chosen), [weight] * len(rejected)]
    for block in SequenceMatcher(None, chosen, rejected, autojunk=False).get_matching_blocks():
        for side, start in zip(sides, (block.a, block.b), strict=True):
            side[start : start + block.size] = [kept] * block.size
    return tuple(sides[0]), tuple(sides[1])


def families(pairs: Sequence[BranchPair]) -> list[list[BranchPair]]:
    """Pairs that share their preferred branch, families on one image next to each other, else in order."""
    by_view: dict[tuple[Path, ...], dict[Branch, list[BranchPair]]] = {}
    for pair in pairs:
        by_view.setdefault(pair.chosen.views, {}).setdefault(pair.chosen, []).append(pair)
    return [family for of_view in by_view.values() for family in of_view.values()]


def branches_of(pairs: Sequence[BranchPair]) -> list[Branch]:
    """Every distinct branch of the pairs' own sides, in first-seen order."""
    sides = (branch for pair in pairs for branch in (pair.chosen, pair.rejected) if branch is not None)
    return list(dict.fromkeys(sides))
