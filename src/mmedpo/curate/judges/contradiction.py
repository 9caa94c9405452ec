"""The offline judge: rules over clinical facts pick the answer that conflicts most, or write one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mmedpo.clinical import Conflict, conflict, extract_facts
from mmedpo.clinical.scorer_talk import plain_answer
from mmedpo.curate.perturb import perturb, vocabulary_of, written
from mmedpo.curate.validators import validate, validate_candidate
from mmedpo.errors import CurationError
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register


@register("judge", "contradiction")
@dataclass(frozen=True)
class ContradictionJudge:
    """Offline and deterministic: ranks candidates by their clinical conflict with the ground truth.

    Candidates that a validator refuses (equal to the truth, same polarity, cut, leaked prompt, ...)
    are never picked. What in a candidate speaks to a scorer is not read, as the rubric agents do not
    read it. If none conflicts, the injector writes an answer; if it cannot, the question is dropped
    with the injector's reason.
    """

    minimum: float = 0.3
    """Least conflict a candidate must show to be picked."""
    vocabulary: frozenset[str] | None = None
    """Words the injector prefers (`perturb.vocabulary_of` the training examples); None for all."""
    name: str = "contradiction"
    """Name recorded in the verdict."""

    def prepare(self, examples: Iterable[Example]) -> ContradictionJudge:
        """The same judge, whose injector prefers words that occur in these examples' ground truths."""
        return replace(self, vocabulary=vocabulary_of(examples))

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question.

        Args:
            example: the question with its ground truth.
            candidates: the model's samples for it; may be empty.
            seed: drives the injector only.

        Raises:
            CurationError: a candidate belongs to another example.
        """
        best: tuple[Candidate, Conflict] | None = None
        for candidate in sorted(candidates, key=lambda c: c.index):
            found = self._conflict(example, candidate)
            if found.score >= self.minimum and (best is None or found.score > best[1].score):
                best = candidate, found
        if best is None:
            return self.without_conflict(example, seed)
        candidate, found = best
        return Verdict(
            example_id=example.example_id,
            judge=self.name,
            outcome="picked",
            rejected=candidate.text.strip(),
            candidate_index=candidate.index,
            error_type=found.error_type,
            conflict=found.score,
            reason=found.reason,
        )

    def without_conflict(self, example: Example, seed: int) -> Verdict:
        """What becomes of a question whose candidates all agree with the truth, or may not stand against it."""
        return written(perturb(example, seed, self.vocabulary), example, self.name)

    def _conflict(self, example: Example, candidate: Candidate) -> Conflict:
        if candidate.example_id != example.example_id:
            raise CurationError(
                f"candidate of {candidate.example_id!r} offered for {example.example_id!r}; "
                "join candidates by example_id"
            )
        said = plain_answer(candidate.text, example.question, example.answer)
        if validate_candidate(example, candidate) or validate(example, said):
            return Conflict(0.0)
        truth = extract_facts(example.answer, example.question, example.error_type)
        return conflict(truth, extract_facts(said, example.question, example.error_type))
