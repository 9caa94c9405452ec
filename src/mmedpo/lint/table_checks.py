"""Checks of the table as a whole: shortcuts, weights, duplicates.

Each sees every row once and keeps a few bytes of it.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from mmedpo.config import LintSettings, ScoreSettings
from mmedpo.lint.checks import SCORE, sides, spelled_score
from mmedpo.lint.findings import Finding, Severity
from mmedpo.lint.judges import WordJudge, length_judge
from mmedpo.records import PreferenceRow

PairKey: TypeAlias = tuple[tuple[tuple[str, ...], tuple[str, ...], str], tuple[str, ...], tuple[str, ...]]
"""(images, rejected images, question), words of the chosen answer, words of the rejected one."""

_FEWEST = 20
"""Fewer text pairs than this say nothing about a shortcut."""


class Shortcuts:
    """What a judge that never sees the image gets right."""

    def __init__(self, settings: LintSettings) -> None:
        self._settings = settings
        self._chosen, self._rejected = array("q"), array("q")
        self._judge = WordJudge(settings.folds)

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        chosen, rejected = row.chosen_text.split(), row.rejected_text.split()
        if row.pair_type != "visual" and chosen and rejected:
            self._chosen.append(len(chosen))
            self._rejected.append(len(rejected))
            self._judge.see(*sides(row), row.images[0] if row.images else row.row_id)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        of, limit = len(self._chosen), self._settings.shortcut_accuracy
        if of < _FEWEST:
            return
        judge = length_judge(self._chosen, self._rejected)
        rule = "shorter" if judge.shorter_wins else "longer"
        yield Finding(
            check="length-shortcut",
            severity=_severity(judge.accuracy, limit),
            count=round(judge.rejected_longer * of),
            of=of,
            message=(
                f"rejected answers are longer in {judge.rejected_longer:.1%} of the pairs (mean "
                f"{judge.rejected_mean:.1f} words against {judge.chosen_mean:.1f}); a judge that sees only lengths and "
                f"picks the {rule} one is right in {judge.accuracy:.1%}"
            ),
            numbers=judge._asdict() | {"shorter_wins": float(judge.shorter_wins)},
        )
        accuracy = self._judge.accuracy(self._settings.ridge)
        if accuracy is not None:
            yield Finding(
                check="word-shortcut",
                severity=_severity(accuracy, limit),
                count=round(accuracy * of),
                of=of,
                message=f"a bag-of-words judge that never sees the image is right in {accuracy:.1%} of unseen pairs",
                numbers={"accuracy": accuracy},
            )


def _severity(accuracy: float, limit: float) -> Severity:
    return "warning" if accuracy > limit else "note"


class Weights:
    """Scores and weights that are missing, zero, constant, or collapsed.

    Args:
        of: rows of the table.
        derived: weighting mode to the weights it would give the scored rows.
        settings: thresholds.
    """

    def __init__(self, of: int, derived: Mapping[str, Sequence[float]], settings: LintSettings) -> None:
        self._of, self._derived, self._settings = of, derived, settings
        self._values = array("d")
        self._missing, self._zero = array("q"), array("q")
        self._reasons, self._first = Counter[str](), dict[str, str]()
        self._unusable = False

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        value = _used(row)
        if value is None:
            self._missing.append(row.source_row)
            reason = row.unscored_reason.split(" (")[0] or "no reason given"
            self._reasons[reason] += 1
            self._first.setdefault(reason, row.unscored_reason)
            self._unusable = self._unusable or (bool(row.extra) and SCORE in json.loads(row.extra))
            return
        self._values.append(value)
        if value == 0:
            self._zero.append(row.source_row)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        values = self._values
        if self._missing:
            yield self._without()
        if self._zero:
            yield Finding(
                check="zero-weight",
                severity="error",
                count=len(self._zero),
                of=self._of,
                rows=tuple(self._zero),
                message=f"{len(self._zero)} rows have weight 0: no gradient, but still counted in the mean of the loss",
                action="drop",
            )
        if len(values) > 1 and min(values) == max(values):
            yield Finding(
                check="constant-weight",
                severity="warning",
                count=len(values),
                of=self._of,
                message=f"all {len(values)} weights are {values[0]:g}: they tell no pair from another",
            )
        elif values:
            yield from self._collapsed("file", values, "weights of the file", "warning")
        for mode, weights in self._derived.items():
            # Only the default mode is what a run would use; of the others it is good to know.
            severity: Severity = "warning" if mode.startswith(ScoreSettings().weights) else "note"
            yield from self._collapsed(mode, weights, f"weights derived by mode {mode!r}", severity)

    def _without(self) -> Finding:
        """Rows without a weight, each counted under its reason.

        Where some rows have one, those without spoil the file. Where none has, it is a file without weights, unless
        there are values that cannot be used: then every row stays as it is, and the fault is told.
        """
        count, some = len(self._missing), bool(self._values)
        told = ", ".join(f"{n} x {self._first[reason] or reason}" for reason, n in self._reasons.most_common())
        return Finding(
            check="missing-weight",
            severity="error" if some or self._unusable else "note",
            count=count,
            of=self._of,
            rows=tuple(self._missing) if some or self._unusable else (),
            message=f"{count} of {self._of} rows have no usable weight ({told})",
            action="drop" if some else "none",
        )

    def _collapsed(self, mode: str, values: Sequence[float], what: str, severity: Severity) -> Iterator[Finding]:
        if not values or min(values) == max(values) == 1.0:
            return
        edges = (min(values), max(values))
        value, count = max(((edge, sum(v == edge for v in values)) for edge in edges), key=lambda item: item[1])
        if count > self._settings.bound_share * len(values):
            yield Finding(
                check=f"weights-on-a-bound-{mode}",
                severity=severity,
                count=count,
                of=len(values),
                message=f"{count} of {len(values)} {what} are {value:g}, an end of their range",
                numbers={"value": value},
            )


def _used(row: PreferenceRow) -> float | None:
    """The row's weight, else its score; one that is only spelled as text counts: a fault of its own, and mended."""
    if row.weight is not None or row.score is not None:
        return row.score if row.weight is None else row.weight
    return spelled_score(row)


class Duplicates:
    """The same pair twice, and pairs that contradict each other; of a row two hashes are kept."""

    def __init__(self, of: int) -> None:
        self._of = of
        self._numbers, self._differ = array("q"), array("b")
        self._keys, self._turned = bytearray(), bytearray()

    def see(self, row: PreferenceRow) -> None:
        """See `Check`."""
        asked, chosen, rejected = (repr(part).encode() for part in duplicate_key(row))
        self._numbers.append(row.source_row)
        self._differ.append(chosen != rejected)
        self._keys += _hash(asked, chosen, rejected)
        self._turned += _hash(asked, rejected, chosen)

    def findings(self) -> Iterator[Finding]:
        """See `Check`."""
        numbers, differ = np.array(self._numbers), np.array(self._differ, dtype=bool)
        keys, turned = (np.frombuffer(held, dtype=f"S{_BYTES}") for held in (self._keys, self._turned))
        order = np.argsort(keys, kind="stable")
        again = numbers[order[1:][keys[order[1:]] == keys[order[:-1]]]]
        if len(again):
            yield Finding(
                check="duplicate",
                severity="warning",
                count=len(again),
                of=self._of,
                rows=tuple(np.sort(again).tolist()),
                message=f"{len(again)} rows repeat an earlier one (same image, question and answers)",
                action="drop",
            )
        against = numbers[differ][np.isin(turned[differ], keys[differ])]
        if len(against):
            yield Finding(
                check="contradicting-pairs",
                severity="error",
                count=len(against),
                of=self._of,
                rows=tuple(np.sort(against).tolist()),
                message=f"{len(against)} rows prefer the answer that another row on the same question rejects",
                action="drop",
            )


_BYTES = 16
"""Of a hash: two of a million keys have the same one with a chance of 1e-27."""


def _hash(*parts: bytes) -> bytes:
    # What `repr` spells holds no NUL, so the parts stay apart.
    return hashlib.blake2b(b"\0".join(parts), digest_size=_BYTES).digest()


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
