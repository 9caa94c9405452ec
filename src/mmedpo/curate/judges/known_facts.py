"""`known-facts`: rules settle answers to questions without a truth by what else is known of the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mmedpo.clinical.known import Answered, Known
from mmedpo.curate.validators import validate_answer, validate_sides
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register

Shown = tuple[str, ...]
"""Hashes of the images of a question."""


@register("judge", "known-facts")
@dataclass(frozen=True)
class KnownFactsJudge:
    """An answer that the true answers to other questions on the image bear out, over one that they contradict.

    What they leave undecided is on neither side. The stand-in for the external judge of STLLaVA-Med where nobody
    can be asked.
    """

    needs_truth: ClassVar[bool] = False
    """The question may be the model's own."""
    known: dict[Shown, Known] = field(default_factory=dict)
    """Of the training images."""
    name: str = "known-facts"
    """Name recorded in the verdicts."""

    def prepare(self, examples: Iterable[Example]) -> KnownFactsJudge:
        """The same judge, who knows what these examples' ground truths say of their images."""
        answered: dict[Shown, list[Answered]] = {}
        for one in examples:
            answered.setdefault(_shown(one), []).append(Answered(one.question, one.answer, one.error_type))
        return replace(self, known={shown: Known.of(given) for shown, given in answered.items()})

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`. The example's own answer is not looked at."""
        usable = [
            item for item in sorted(candidates, key=lambda item: item.index) if validate_answer(example, item) is None
        ]
        if len(usable) < 2:
            return self._verdict(example, reason="fewer-than-two-answers")
        known = self.known.get(_shown(example), Known.of(()))
        settled = [(item, known.settle(example.question, item.text, example.error_type)) for item in usable]
        right = [item for item, found in settled if found.state == "right"]
        wrong = [(item, found) for item, found in settled if found.state == "wrong"]
        if not right or not wrong:
            return self._verdict(example, reason=_undecided(len(right), len(wrong), len(usable)))
        rejected, found = max(wrong, key=lambda one: one[1].conflict)
        chosen = right[0]
        refused = validate_sides(example, chosen.text, rejected.text)
        if refused is not None:
            return self._verdict(example, reason=refused.reason)
        return self._verdict(
            example,
            outcome="picked",
            chosen=chosen.text.strip(),
            rejected=rejected.text.strip(),
            candidate_index=rejected.index,
            error_type=found.error_type,
            conflict=found.conflict,
            reason=found.reason,
        )

    def _verdict(self, example: Example, **fields: object) -> Verdict:
        base = {"example_id": example.example_id, "judge": self.name, "outcome": "dropped", "rejected": ""}
        return Verdict.model_validate({**base, "error_type": example.error_type, **fields})


def _shown(example: Example) -> Shown:
    return tuple(image.sha256 for image in example.images)


def _undecided(right: int, wrong: int, answers: int) -> str:
    """Why nothing is preferred, to be counted."""
    if right == answers:
        return "answers-all-right"
    return "answers-all-wrong" if wrong == answers else "answers-undecided"
