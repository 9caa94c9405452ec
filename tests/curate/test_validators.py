"""Each fault of published preference files has one validator, and the drop names it."""

from __future__ import annotations

import pytest

from curate.curation_examples import candidates, example
from mmedpo.curate.validators import validate, validate_candidate
from mmedpo.records import Example

YES = example("yes", "Is there an effusion?", answer_type="closed")
OPEN = example("left lung", "Where is the nodule?")


@pytest.mark.parametrize(
    ("truth", "rejected", "reason"),
    [
        (OPEN, "  ", "empty-side"),
        (OPEN, "...", "empty-side"),
        (OPEN, "Left  lung.", "identical-sides"),
        (YES, "Yes, there is an effusion on the left", "same-polarity"),
        (YES, "An effusion is seen.", "same-polarity"),
        (OPEN, "in the lower left part of the right lung", "chosen-contained-in-rejected"),
        (OPEN, "Dispreferred Answer: right lung", "leaked-prompt-text"),
        (OPEN, "-Candidate Answer1: right", "leaked-prompt-text"),
        (example("Original Answer: left"), "right", "leaked-prompt-text"),
        (OPEN, "right right right right", "degenerate-repetition"),
        (OPEN, "the right lung the right lung the right lung the right lung", "degenerate-repetition"),
        (OPEN, " ".join(f"w{i}" for i in range(401)), "too-long"),
    ],
)
def test_reasons(truth: Example, rejected: str, reason: str) -> None:
    drop = validate(truth, rejected)
    assert drop is not None
    assert (drop.reason, drop.item, drop.stage) == (reason, "e1", "curate")


@pytest.mark.parametrize(
    ("truth", "rejected"),
    [
        (YES, "no"),
        (YES, "No effusion is seen."),
        (OPEN, "right lung"),
        (example("left", "Left or right?", answer_type="closed"), "right, not left"),  # closed: scored as accuracy
    ],
)
def test_sound_pairs_pass(truth: Example, rejected: str) -> None:
    assert validate(truth, rejected) is None


def test_an_unfinished_candidate_is_refused_before_anything_else() -> None:
    (cut,) = candidates("")
    drop = validate_candidate(OPEN, cut.model_copy(update={"finished": False}))
    assert drop is not None
    assert drop.reason == "unfinished"
