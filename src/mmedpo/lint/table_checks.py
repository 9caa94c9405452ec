"""Checks of the table as a whole: shortcuts, weights, duplicates, leaks into the test."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from mmedpo.config import LintSettings, ScoreSettings
from mmedpo.imaging.perceptual import near_pairs
from mmedpo.lint.checks import SCORE, sides, spelled_score
from mmedpo.lint.findings import Finding, Severity
from mmedpo.lint.judges import length_judge, word_judge
from mmedpo.records import Example, ImageRef, PreferenceRow

PairKey: TypeAlias = tuple[tuple[tuple[str, ...], tuple[str, ...], str], tuple[str, ...], tuple[str, ...]]
"""(images, rejected images, question), words of the chosen answer, words of the rejected one."""

_FEWEST = 20
"""Fewer text pairs than this say nothing about a shortcut."""


def shortcut_findings(rows: Sequence[PreferenceRow], settings: LintSettings) -> Iterator[Finding]:
    """What a judge that never sees the image gets right."""
    text = [row for row in rows if row.pair_type != "visual" and row.chosen_text.strip() and row.rejected_text.strip()]
    if len(text) < _FEWEST:
        return
    pairs = [(row.chosen_text.split(), row.rejected_text.split()) for row in text]
    judge = length_judge([len(c) for c, _ in pairs], [len(r) for _, r in pairs])
    rule = "shorter" if judge.shorter_wins else "longer"
    yield Finding(
        check="length-shortcut",
        severity=_severity(judge.accuracy, settings.shortcut_accuracy),
        count=round(judge.rejected_longer * len(text)),
        of=len(text),
        message=(
            f"rejected answers are longer in {judge.rejected_longer:.1%} of the pairs (mean {judge.rejected_mean:.1f} "
            f"words against {judge.chosen_mean:.1f}); a judge that sees only lengths and picks the {rule} one is right "
            f"in {judge.accuracy:.1%}"
        ),
        numbers=judge._asdict() | {"shorter_wins": float(judge.shorter_wins)},
    )
    split = [sides(row) for row in text]
    groups = [row.images[0] if row.images else row.row_id for row in text]
    accuracy = word_judge([c for c, _ in split], [r for _, r in split], groups, settings.folds, settings.ridge)
    if accuracy is not None:
        yield Finding(
            check="word-shortcut",
            severity=_severity(accuracy, settings.shortcut_accuracy),
            count=round(accuracy * len(text)),
            of=len(text),
            message=f"a bag-of-words judge that never sees the image is right in {accuracy:.1%} of unseen pairs",
            numbers={"accuracy": accuracy},
        )


def weight_findings(
    rows: Sequence[PreferenceRow], derived: Mapping[str, Sequence[float]], settings: LintSettings
) -> Iterator[Finding]:
    """Scores and weights that are missing, zero, constant, or collapsed.

    Args:
        rows: the table.
        derived: weighting mode to the weights it would give the scored rows.
        settings: thresholds.
    """
    # A score that is only spelled as text counts: that is a fault of its own, and mended.
    used = {row.source_row: _used(row) for row in rows}
    missing = tuple(number for number, value in used.items() if value is None)
    values = [value for value in used.values() if value is not None]
    if missing:
        yield _missing([row for row in rows if used[row.source_row] is None], len(rows), bool(values))
    zero = tuple(number for number, value in used.items() if value == 0)
    if zero:
        yield Finding(
            check="zero-weight",
            severity="error",
            count=len(zero),
            of=len(rows),
            rows=zero,
            message=f"{len(zero)} rows have weight 0: no gradient, but still counted in the mean of the loss",
            action="drop",
        )
    if len(values) > 1 and len(set(values)) == 1:
        yield Finding(
            check="constant-weight",
            severity="warning",
            count=len(values),
            of=len(rows),
            message=f"all {len(values)} weights are {values[0]:g}: they tell no pair from another",
        )
    elif values:
        yield from _collapsed("file", values, settings, "weights of the file", "warning")
    for mode, weights in derived.items():
        # Only the default mode is what a run would use; of the others it is good to know.
        severity: Severity = "warning" if mode.startswith(ScoreSettings().weights) else "note"
        yield from _collapsed(mode, weights, settings, f"weights derived by mode {mode!r}", severity)


def _used(row: PreferenceRow) -> float | None:
    if row.weight is not None or row.score is not None:
        return row.score if row.weight is None else row.weight
    return spelled_score(row)


def _missing(rows: Sequence[PreferenceRow], of: int, some: bool) -> Finding:
    """Rows without a weight, each counted under its reason.

    Where some rows have one, those without spoil the file. Where none has, it is a file without weights, unless
    there are values that cannot be used: then every row stays as it is, and the fault is told.
    """
    reasons = Counter(row.unscored_reason.split(" (")[0] or "no reason given" for row in rows)
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.unscored_reason.split(" (")[0] or "no reason given", row.unscored_reason)
    told = ", ".join(f"{count} x {first[reason] or reason}" for reason, count in reasons.most_common())
    unusable = any(row.extra and SCORE in json.loads(row.extra) for row in rows)
    numbers = tuple(row.source_row for row in rows)
    return Finding(
        check="missing-weight",
        severity="error" if some or unusable else "note",
        count=len(rows),
        of=of,
        rows=numbers if some or unusable else (),
        message=f"{len(rows)} of {of} rows have no usable weight ({told})",
        action="drop" if some else "none",
    )


def _collapsed(
    mode: str, values: Sequence[float], settings: LintSettings, what: str, severity: Severity
) -> Iterator[Finding]:
    if not values or min(values) == max(values) == 1.0:
        return
    low, high = min(values), max(values)
    at = Counter(values)
    value, count = max(((edge, at[edge]) for edge in (low, high)), key=lambda item: item[1])
    if count > settings.bound_share * len(values):
        yield Finding(
            check=f"weights-on-a-bound-{mode}",
            severity=severity,
            count=count,
            of=len(values),
            message=f"{count} of {len(values)} {what} are {value:g}, an end of their range",
            numbers={"value": value},
        )


def duplicate_findings(rows: Sequence[PreferenceRow]) -> Iterator[Finding]:
    """The same pair twice, and pairs that contradict each other."""
    seen: dict[PairKey, list[int]] = defaultdict(list)
    prefer: dict[PairKey, list[int]] = defaultdict(list)
    for row in rows:
        asked, chosen, rejected = duplicate_key(row)
        seen[asked, chosen, rejected].append(row.source_row)
        if chosen != rejected:
            prefer[asked, chosen, rejected].append(row.source_row)
    again = tuple(sorted(number for numbers in seen.values() for number in numbers[1:]))
    if again:
        yield Finding(
            check="duplicate",
            severity="warning",
            count=len(again),
            of=len(rows),
            rows=again,
            message=f"{len(again)} rows repeat an earlier one (same image, question and answers)",
            action="drop",
        )
    against = tuple(sorted(n for (asked, c, r), numbers in prefer.items() if (asked, r, c) in prefer for n in numbers))
    if against:
        yield Finding(
            check="contradicting-pairs",
            severity="error",
            count=len(against),
            of=len(rows),
            rows=against,
            message=f"{len(against)} rows prefer the answer that another row on the same question rejects",
            action="drop",
        )


def duplicate_key(row: PreferenceRow) -> PairKey:
    """(what is asked of which images, words of the chosen, words of the rejected answer)."""
    shown = row.image_hashes if all(row.image_hashes) and row.image_hashes else row.images
    other = (
        row.rejected_image_hashes
        if all(row.rejected_image_hashes) and row.rejected_image_hashes
        else row.rejected_images
    )
    chosen, rejected = sides(row)
    return (shown, other, " ".join(row.question.casefold().split())), tuple(chosen), tuple(rejected)


def leak_findings(
    rows: Sequence[PreferenceRow], images: Mapping[str, ImageRef], held_out: Sequence[Example]
) -> Iterator[Finding]:
    """Rows on an image, or of a patient, that a model will be tested on.

    Args:
        rows: the table; `example_id` is looked up among all examples given.
        images: image path to reference, for the rows' images.
        held_out: examples that are not trained on.
    """
    if not held_out:
        return
    tested = {image.sha256: image for example in held_out for image in example.images}
    same = {name for name, image in images.items() if image.sha256 in tested}
    yield from _leak("test-image", rows, same, "the very file of a test image", "error")
    names = [name for name in images if name not in same]
    looks = [image.perceptual for image in tested.values()]
    near = {names[i] for i, _ in near_pairs([images[n].perceptual for n in names], looks)}
    yield from _leak("test-image-lookalike", rows, near, "the same picture as a test image, under other bytes", "error")
    by_id = {example.example_id for example in held_out}
    asked = tuple(row.source_row for row in rows if row.example_id in by_id)
    if asked:
        yield Finding(
            check="test-question",
            severity="error",
            count=len(asked),
            of=len(rows),
            rows=asked,
            message=f"{len(asked)} rows were made from questions of a held-out split",
            action="drop",
        )


def _leak(
    check: str, rows: Sequence[PreferenceRow], names: set[str], what: str, severity: Severity
) -> Iterator[Finding]:
    failing = tuple(row.source_row for row in rows if names & {*row.images, *row.rejected_images})
    if failing:
        yield Finding(
            check=check,
            severity=severity,
            count=len(failing),
            of=len(rows),
            rows=failing,
            message=f"{len(failing)} rows show {what}",
            action="drop",
        )


def _severity(accuracy: float, limit: float) -> Severity:
    return "warning" if accuracy > limit else "note"
