"""`injected` and `targeted`: every wrong answer is written from the truth; the model is not sampled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from mmedpo.curate.perturb import perturb, vocabulary_of, written
from mmedpo.curate.targeting import Truths, target, truths_of
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register


@register("judge", "injected")
@dataclass(frozen=True)
class InjectedJudge:
    """Changes one clinically meaningful thing of the truth (POVID's injected errors, by rules)."""

    reads_candidates: ClassVar[bool] = False
    """The model is not sampled for it."""
    vocabulary: frozenset[str] | None = None
    """Words that are preferred (`perturb.vocabulary_of` the training examples); None for all."""
    name: str = "injected"
    """Name recorded in the verdicts."""

    def prepare(self, examples: Iterable[Example]) -> Self:
        """The same judge, which prefers words that occur in these examples' ground truths."""
        return replace(self, vocabulary=vocabulary_of(examples))

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`."""
        return written(perturb(example, seed, self.vocabulary), example, self.name)


@register("judge", "targeted")
@dataclass(frozen=True)
class TargetedJudge:
    """Only errors of a kind the question asks for (a side for a side), plausible on such an image; see `targeting`.

    Targeted pairs of arXiv 2601.17918 (METHOD section 4). Where the truth offers none, the question is a counted drop.
    """

    reads_candidates: ClassVar[bool] = False
    """The model is not sampled for it."""
    vocabulary: frozenset[str] | None = None
    """As `InjectedJudge.vocabulary`."""
    truths: Truths = field(default_factory=dict)
    """Whole answers of other questions."""
    name: str = "targeted"
    """Name recorded in the verdicts."""

    def prepare(self, examples: Iterable[Example]) -> Self:
        """The same judge, which knows the words and the answers of these examples' ground truths."""
        seen = list(examples)
        return replace(self, vocabulary=vocabulary_of(seen), truths=truths_of(seen))

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`."""
        return written(target(example, seed, self.vocabulary, self.truths), example, self.name)
