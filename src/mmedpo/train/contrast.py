"""Which other image of a step a question is put to.

The other image must be one that is not known to show what the answer rests on: then the answer should be less likely
there. It is an image of the same step, whose tokens are computed anyway; a branch on it costs a question and an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from mmedpo.clinical.bearing import rests_on, shares, shown_in
from mmedpo.engine import Branch
from mmedpo.imaging.pictures import image_files
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Example, PreferencePair
from mmedpo.train.groups import BranchPair

Views = tuple[Path, ...]


class Asked(NamedTuple):
    """What is known of one pair's question."""

    question: str
    """Plain text."""
    findings: frozenset[str]
    """What its answer rests on; empty: nothing that another image could lack."""


class Contrast:
    """Puts the questions of a step to other images of the step.

    Args:
        vlm: whose prompts they are.
        asked: of every pair, by its id.
        shows: findings that each view is known to show.
        max_length: longest sequence, tokens; a question that would be longer on an image is not put to it.
    """

    def __init__(
        self,
        vlm: VisionLanguageModel,
        asked: Mapping[str, Asked],
        shows: Mapping[Views, frozenset[str]],
        max_length: int,
    ) -> None:
        self.vlm = vlm
        self.asked = asked
        self.shows = shows
        self.limit = min(max_length, vlm.context_length)
        self._shown = set(shows.values())

    def put(self, pairs: Sequence[BranchPair]) -> list[BranchPair]:
        """The pairs of a step, each with another image where one fits: the first that does, from its own on."""
        heads = {pair.chosen.views: pair.chosen for pair in pairs}
        order = list(heads)
        return [self._put(pair, [heads[views] for views in _after(order, pair.chosen.views)]) for pair in pairs]

    def fits(self, pair: BranchPair) -> bool:
        """Whether any image may lack what the pair's answer rests on."""
        findings = self.asked[pair.pair_id].findings
        return bool(findings) and any(not shares(findings, shown) for shown in self._shown)

    def _put(self, pair: BranchPair, others: Sequence[Branch]) -> BranchPair:
        question, findings = self.asked[pair.pair_id]
        if not findings:
            return pair
        for other in others:
            if not shares(findings, self.shows.get(other.views, frozenset())):
                branch = self._on(pair.chosen, question, other)
                if len(branch.prompt) + len(branch.response) <= self.limit:
                    return replace(pair, other=branch)
        return pair

    def _on(self, branch: Branch, question: str, other: Branch) -> Branch:
        """The same question and answer on the other image, whose tokens may be more or fewer."""
        if branch.sizes == other.sizes:
            return replace(branch, views=other.views)
        prompt = tuple(self.vlm.prompt_ids(question, other.pictures))
        return replace(branch, views=other.views, sizes=other.sizes, prompt=prompt)


def contrast_of(
    vlm: VisionLanguageModel,
    pairs: Sequence[PreferencePair],
    examples: Sequence[Example],
    image_root: Path,
    max_length: int,
) -> Contrast:
    """Reads out of the training questions what each answer rests on, and what each image shows."""
    training = [example for example in examples if example.split == "train"]
    kinds = {example.example_id: example.error_type for example in training}
    asked = {
        pair.pair_id: Asked(pair.question, rests_on(pair.question, pair.chosen, kinds.get(pair.example_id, "other")))
        for pair in pairs
    }
    shown = shown_in(training)
    shows: dict[Views, frozenset[str]] = {}
    for pair in pairs:
        known = [shown.get(image.sha256, frozenset()) for image in pair.images]
        shows[image_files(image_root, pair.images)] = frozenset().union(*known)
    return Contrast(vlm, asked, shows, max_length)


def _after(order: Sequence[Views], own: Views) -> list[Views]:
    """The other images of a step, beginning behind the own one."""
    place = order.index(own)
    return [*order[place + 1 :], *order[:place]]
