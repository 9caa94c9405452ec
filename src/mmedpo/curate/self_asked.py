"""Questions that the model asked itself: which are judged, and as what (STLLaVA-Med; METHOD section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmedpo.clinical.lexicon import words
from mmedpo.clinical.question_types import question_types
from mmedpo.lint.text import leaked_prompt
from mmedpo.records import ASK, Candidate, Example, Verdict

LEAST_WORDS = 3
"""A question of fewer words asks nothing: "is there?"."""


class SelfAsked(NamedTuple):
    """What the model asked of the training images."""

    questions: list[Example]
    """Each in place of the training question it was drawn for, whose `example_id` and images it keeps. It has no ground
    truth: `answer` is empty."""
    refused: list[Verdict]
    """Drops for what cannot be judged: no question, an unfinished one, one that was asked of the image before."""


def self_asked(examples: Sequence[Example], of_example: Mapping[str, Sequence[Candidate]], judge: str) -> SelfAsked:
    """Sorts the model's own questions.

    Args:
        examples: the training questions.
        of_example: candidates by example id; each says what it answers.
        judge: name recorded in the drops.
    """
    questions, refused = [], []
    asked: set[tuple[str, ...]] = set()
    for example in examples:
        candidates = of_example[example.example_id]
        text = candidates[0].question if candidates else ""
        key = (*(image.sha256 for image in example.images), *words(text))
        reason = _refusal(text, candidates) or ("self-question-repeats" if key in asked else "")
        asked.add(key)
        if reason:
            refused.append(_dropped(example, text, judge, reason))
        else:
            questions.append(as_asked(example, text))
    return SelfAsked(questions, refused)


def as_asked(example: Example, question: str) -> Example:
    """The example with the model's own question in place of its own, and without its ground truth."""
    kind = next(iter(question_types(question)), "other")
    asked = {"question": question, "answer": "", "answer_type": "open", "error_type": kind, "choices": ()}
    return example.model_copy(update=asked)


def _refusal(text: str, candidates: Sequence[Candidate]) -> str:
    """Why what was asked is no question that can be judged; empty when it is one."""
    said = words(text)
    if not said:
        return "self-question-empty"
    if not any(candidate.finished or candidate.text for candidate in candidates):
        return "self-question-unfinished"
    if len(said) < LEAST_WORDS or not text.rstrip().endswith("?") or said == words(ASK) or leaked_prompt(text):
        return "self-question-is-none"
    return ""


def _dropped(example: Example, question: str, judge: str, reason: str) -> Verdict:
    return Verdict(
        example_id=example.example_id, judge=judge, outcome="dropped", rejected="", question=question, reason=reason
    )
