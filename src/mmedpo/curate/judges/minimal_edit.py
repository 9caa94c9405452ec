"""`minimal-edit`: the model's own wrong answer against the same answer with the one wrong thing put right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmedpo.clinical import conflict, extract_facts
from mmedpo.clinical.lexicon import words
from mmedpo.curate.perturb import proposals
from mmedpo.curate.validators import validate_answer, validate_sides
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register

RIGHT, UNMENDED = "own-answer-right", "no-minimal-edit"


@register("judge", "minimal-edit")
@dataclass(frozen=True)
class MinimalEdit:
    """Both sides are the model's own words, so neither length nor style tells them apart (FiRe-MPO, by rules).

    Reads the first candidate: with `curate.temperature=0` the greedy answer. An answer that contradicts nothing gives
    no pair, nor does one that a single edit does not bring to agree with the truth.
    """

    minimum: float = 0.3
    """Least conflict with the truth at which an answer counts as wrong."""
    name: str = "minimal-edit"
    """Name recorded in the verdicts."""

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`."""
        if not candidates:
            return self._verdict(example, "dropped", reason="no-answer")
        own = min(candidates, key=lambda item: item.index)
        refused = validate_answer(example, own)
        if refused is not None:
            return self._verdict(example, "dropped", reason=refused.reason)
        truth = extract_facts(example.answer, example.question, example.error_type)
        found = conflict(truth, extract_facts(own.text, example.question, example.error_type))
        if found.score < self.minimum:
            return self._verdict(example, "dropped", reason=RIGHT)
        mended = self._mend(example, own)
        if mended is None:
            return self._verdict(example, "dropped", reason=UNMENDED)
        return self._verdict(
            example,
            "picked",
            chosen=mended,
            rejected=own.text.strip(),
            candidate_index=own.index,
            error_type=found.error_type,
            conflict=found.score,
            reason=found.reason,
        )

    def _mend(self, example: Example, own: Candidate) -> str | None:
        """The edit of the model's answer that agrees with the truth; of several, the one with most of its words."""
        truth = extract_facts(example.answer, example.question, example.error_type)
        wanted = set(words(example.answer))
        told = example.model_copy(update={"answer": own.text.strip()})
        good = []
        for text, _ in proposals(told, np.random.default_rng(0)):
            facts = extract_facts(text, example.question, example.error_type)
            agrees = not conflict(truth, facts).score and not conflict(facts, truth).score
            if agrees and validate_sides(example, text, own.text) is None:
                good.append(text)
        return max(good, key=lambda text: (len(wanted & set(words(text))), text), default=None)

    def _verdict(self, example: Example, outcome: str, **fields: object) -> Verdict:
        base = {"example_id": example.example_id, "judge": self.name, "outcome": outcome, "rejected": ""}
        return Verdict.model_validate({**base, "error_type": example.error_type, **fields})
