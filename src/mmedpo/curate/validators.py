"""Small checks that keep broken or shortcut-teaching answers out of the preference data.

Each returns None or a `Drop` with a countable reason; `validate` gives the first that objects. The
reasons mirror the faults found in published preference files (docs/method: lint).
"""

from __future__ import annotations

from collections.abc import Callable

from mmedpo.clinical import extract_facts
from mmedpo.clinical.lexicon import is_yes_no_question, words
from mmedpo.lint.text import leaked_prompt as prompt_text
from mmedpo.records import Candidate, Drop, Example

STAGE = "curate"
MAX_WORDS = 400
"""A candidate longer than this is no answer any more, for reports as well."""


def empty_side(example: Example, rejected: str) -> Drop | None:
    """No word on one of the sides."""
    if words(example.answer) and words(rejected):
        return None
    return _drop(example, "empty-side", f"chosen {example.answer!r}, rejected {rejected!r}")


def identical_sides(example: Example, rejected: str) -> Drop | None:
    """Both sides hold the same words, whatever their case and punctuation."""
    if words(example.answer) != words(rejected):
        return None
    return _drop(example, "identical-sides", repr(rejected))


def same_polarity(example: Example, rejected: str) -> Drop | None:
    """A yes/no question whose rejected answer says the same as the truth."""
    if not is_yes_no_question(example.question):
        return None
    truth = extract_facts(example.answer, example.question, example.error_type).polarity
    other = extract_facts(rejected, example.question, example.error_type).polarity
    if truth is None or truth != other:
        return None
    return _drop(example, "same-polarity", repr(rejected))


def chosen_contained(example: Example, rejected: str) -> Drop | None:
    """An open answer whose every word also stands in the rejected one would score full recall."""
    chosen = words(example.answer)
    if example.answer_type != "open" or not chosen or not set(chosen) <= set(words(rejected)):
        return None
    return _drop(example, "chosen-contained-in-rejected", repr(rejected))


def leaked_prompt(example: Example, rejected: str) -> Drop | None:
    """Text of a prompt, a template or a judge got into an answer (either side)."""
    for side, text in (("chosen", example.answer), ("rejected", rejected)):
        leaked = prompt_text(text)
        if leaked is not None:
            return _drop(example, "leaked-prompt-text", f"{side} holds {leaked!r}")
    return None


def too_long(example: Example, rejected: str) -> Drop | None:
    """More than `MAX_WORDS` words."""
    n = len(rejected.split())
    return _drop(example, "too-long", f"{n} words, at most {MAX_WORDS}") if n > MAX_WORDS else None


def degenerate(example: Example, rejected: str) -> Drop | None:
    """A phrase of up to four words repeated four times in a row, or few distinct words in many."""
    tokens = words(rejected)
    for n in range(1, 5):
        for i in range(len(tokens) - 4 * n + 1):
            if tokens[i : i + n] * 4 == tokens[i : i + 4 * n]:
                return _drop(example, "degenerate-repetition", f"{' '.join(tokens[i : i + n])!r} four times in a row")
    if len(tokens) >= 20 and len(set(tokens)) / len(tokens) < 0.3:
        return _drop(example, "degenerate-repetition", f"{len(set(tokens))} distinct words in {len(tokens)}")
    return None


VALIDATORS: tuple[Callable[[Example, str], Drop | None], ...] = (
    empty_side,
    identical_sides,
    leaked_prompt,
    too_long,
    degenerate,
    same_polarity,
    chosen_contained,
)
"""In the order in which they are asked."""


def validate(example: Example, rejected: str) -> Drop | None:
    """None when `rejected` may stand against the ground truth; else the first objection."""
    return next((drop for check in VALIDATORS if (drop := check(example, rejected))), None)


def validate_candidate(example: Example, candidate: Candidate) -> Drop | None:
    """`validate`, after refusing a sample that the length limit cut (`unfinished`)."""
    if not candidate.finished:
        return _drop(example, "unfinished", f"sample {candidate.index} has no end-of-sequence token")
    return validate(example, candidate.text)


def validate_answer(example: Example, candidate: Candidate) -> Drop | None:
    """None when a sample may stand on either side, right or wrong: finished, not empty, no prompt in it, no babble."""
    if not candidate.finished:
        return _drop(example, "unfinished", f"sample {candidate.index} has no end-of-sequence token")
    checks = (empty_side, leaked_prompt, too_long, degenerate)
    alone = example.model_copy(update={"answer": candidate.text})  # a question of the model's own has no truth
    return next((drop for check in checks if (drop := check(alone, candidate.text))), None)


def validate_sides(example: Example, chosen: str, rejected: str) -> Drop | None:
    """`validate` for a pair whose preferred side is a sample too."""
    return validate(example.model_copy(update={"answer": chosen}), rejected)


def _drop(example: Example, reason: str, detail: str) -> Drop:
    return Drop(stage=STAGE, item=example.example_id, reason=reason, detail=detail)
