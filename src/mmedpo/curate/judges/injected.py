"""`injected` and `targeted`: every wrong answer is written from the truth; the model is not sampled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from mmedpo.curate.perturb import perturb, vocabulary_of, written
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register


@register("judge", "injected")
@dataclass(frozen=True)
class InjectedJudge:
    """Changes one clinically meaningful thing of the truth (POVID's injected errors, by rules)."""

    reads_candidates: ClassVar[bool] = False
    """The model is not sampled for it."""
    only_asked: ClassVar[bool] = False
    """Whether the error must be of the kind the question asks for."""
    vocabulary: frozenset[str] | None = None
    """Words that are preferred (`perturb.vocabulary_of` the training examples); None for all."""
    name: str = "injected"
    """Name recorded in the verdicts."""

    def prepare(self, examples: Iterable[Example]) -> Self:
        """The same judge, which prefers words that occur in these examples' ground truths."""
        return replace(self, vocabulary=vocabulary_of(examples))

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`."""
        kind = example.error_type if self.only_asked else None
        return written(perturb(example, seed, self.vocabulary, kind), example, self.name)


@register("judge", "targeted")
@dataclass(frozen=True)
class TargetedJudge(InjectedJudge):
    """The same, but only errors of the kind the question asks for (a side for a side, a zone for a zone).

    Targeted pairs of arXiv 2601.17918 (METHOD section 4). Where the truth offers none, the question is a counted drop.
    """

    only_asked: ClassVar[bool] = True
    name: str = "targeted"
