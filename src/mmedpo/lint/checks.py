"""Checks of one row at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NamedTuple

from mmedpo.lint.findings import Action, Severity
from mmedpo.lint.text import contains_phrase, leaked_prompt, polarity, without_prompt, words
from mmedpo.records import PreferenceRow

SCORE = "weighted_score"
"""Where a row keeps a score that could not be used as it is written."""
_NUMBER = re.compile(r"[+]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?")


class RowCheck(NamedTuple):
    """One check of single rows."""

    name: str
    """Name of the check."""
    severity: Severity
    """How bad it is."""
    action: Action
    """What `--fix` does."""
    fails: Callable[[PreferenceRow], bool]
    """True for a faulty row."""
    message: str
    """One sentence; `{count}` and `{of}` are filled in."""


def clean_text(text: str) -> str:
    """The answer as it was meant: without blanks around it and without a leaked prompt before it."""
    meant = without_prompt(text) if leaked_prompt(text) else None
    return text.strip() if meant is None else meant


def sides(row: PreferenceRow) -> tuple[list[str], list[str]]:
    """Words of both answers as they were meant."""
    return words(clean_text(row.chosen_text)), words(clean_text(row.rejected_text))


def empty_side(row: PreferenceRow) -> bool:
    """No word on one of the sides, or no question."""
    return not (words(row.chosen_text) and words(row.rejected_text) and row.question)


def identical_sides(row: PreferenceRow) -> bool:
    """The same words (case and punctuation ignored) on the same image; an empty side is another fault."""
    if row.rejected_images and row.rejected_images != row.images:
        return bool(row.rejected_image_hashes) and row.rejected_image_hashes == row.image_hashes and _same_words(row)
    return _same_words(row)


def chosen_contained(row: PreferenceRow) -> bool:
    """An open answer that stands as a whole in a longer rejected one."""
    if row.pair_type == "visual":
        return False
    chosen, rejected = sides(row)
    return is_open(row) and chosen != rejected and contains_phrase(rejected, chosen)


def is_open(row: PreferenceRow) -> bool:
    """True when the chosen answer does not begin with yes or no."""
    return polarity(clean_text(row.chosen_text)) is None


def same_polarity(row: PreferenceRow) -> bool:
    """Both answers begin with the same yes or no."""
    if row.pair_type == "visual":
        return False
    told = polarity(clean_text(row.chosen_text))
    return told is not None and told == polarity(clean_text(row.rejected_text))


def leaked_chosen(row: PreferenceRow) -> bool:
    """Text of a prompt in the chosen answer."""
    return leaked_prompt(row.chosen_text) is not None


def leaked_rejected(row: PreferenceRow) -> bool:
    """Text of a prompt in the rejected answer."""
    return leaked_prompt(row.rejected_text) is not None


def no_image(row: PreferenceRow) -> bool:
    """The row names no image at all."""
    return not row.images


def placeholder_count(row: PreferenceRow) -> bool:
    """Another number of image places in the prompt than of images, or one in an answer; none at all is no such row."""
    shown = sum(turn.images for turn in row.prompt)
    answers = sum(turn.images for turn in (*row.chosen, *row.rejected))
    return bool(row.images) and not place_missing(row) and (shown != len(row.images) or answers > 0)


def place_missing(row: PreferenceRow) -> bool:
    """Images, and no place for any of them: they belong before the question."""
    return bool(row.images) and not any(turn.images for turn in (*row.prompt, *row.chosen, *row.rejected))


def held_out(row: PreferenceRow) -> bool:
    """The row says of itself that it is for validation or test."""
    return row.held_out


def text_score(row: PreferenceRow) -> bool:
    """A score that was written as text, and reads as a number in [0, 1]."""
    return row.score is None and row.weight is None and spelled_score(row) is not None


def spelled_score(row: PreferenceRow) -> float | None:
    """The number in [0, 1] that the row's unusable score spells as text; None where it does not."""
    told = json.loads(row.extra).get(SCORE) if row.extra else None
    if not isinstance(told, str) or not _NUMBER.fullmatch(told.strip()):
        return None
    number = float(told)
    return number if 0 <= number <= 1 else None


def blanks(row: PreferenceRow) -> bool:
    """White space before or after an answer: a token of its own for many tokenizers."""
    return any(text != text.strip() for text in (row.chosen_text, row.rejected_text))


ROW_CHECKS: tuple[RowCheck, ...] = (
    RowCheck("empty-side", "error", "drop", empty_side, "{count} rows have no question or an empty answer"),
    RowCheck("identical-sides", "error", "drop", identical_sides, "{count} rows prefer an answer to itself"),
    RowCheck("same-polarity", "error", "drop", same_polarity, "{count} yes/no rows say the same on both sides"),
    RowCheck(
        "leaked-prompt-chosen", "error", "repair", leaked_chosen, "text of a prompt leaked into {count} chosen answers"
    ),
    RowCheck(
        "leaked-prompt-rejected",
        "error",
        "repair",
        leaked_rejected,
        "text of a prompt leaked into {count} rejected answers",
    ),
    RowCheck("no-image", "error", "drop", no_image, "{count} rows name no image"),
    RowCheck("image-place-missing", "error", "repair", place_missing, "{count} rows have images but no place for them"),
    RowCheck(
        "image-placeholders",
        "error",
        "drop",
        placeholder_count,
        "{count} rows hold another number of image places than of images, or one in an answer",
    ),
    RowCheck(
        "text-score", "error", "repair", text_score, "{count} scores are written as text, which no program weighs by"
    ),
    RowCheck("held-out-row", "error", "drop", held_out, "{count} rows say that they belong to validation or test"),
    RowCheck(
        "chosen-contained",
        "warning",
        "none",
        chosen_contained,
        "{count} rejected answers contain the whole chosen one: by recall they are right",
    ),
    RowCheck("blanks", "note", "repair", blanks, "{count} rows have white space around an answer"),
)


def _same_words(row: PreferenceRow) -> bool:
    chosen, rejected = words(row.chosen_text), words(row.rejected_text)
    return bool(chosen) and chosen == rejected
