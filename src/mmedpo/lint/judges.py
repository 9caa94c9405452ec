"""Judges that never see the image: what they get right, a model can learn without looking.

Both are measured, not assumed: the length judge as the better of "shorter wins" and "longer wins", the
bag-of-words judge on rows it was not fitted on, with all rows of an image in one fold.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_RAREST = 2
"""A word must occur in this many rows to be used."""


class LengthJudge(NamedTuple):
    """How well word counts alone tell the sides apart."""

    accuracy: float
    """Share of rows the better rule gets right; a tie counts half."""
    shorter_wins: bool
    """True when the better rule is "the shorter answer is chosen"."""
    rejected_longer: float
    """Share of rows whose rejected answer has more words."""
    chosen_mean: float
    """Mean words of the chosen answers."""
    rejected_mean: float
    """Mean words of the rejected answers."""


def length_judge(chosen: Sequence[int], rejected: Sequence[int]) -> LengthJudge:
    """Measures the length shortcut; lengths in words, at least one row."""
    c, r = np.asarray(chosen), np.asarray(rejected)
    longer, ties = float((r > c).mean()), float((r == c).mean())
    shorter_wins = longer + ties / 2
    return LengthJudge(
        accuracy=max(shorter_wins, 1 - shorter_wins),
        shorter_wins=shorter_wins >= 0.5,
        rejected_longer=longer,
        chosen_mean=float(c.mean()),
        rejected_mean=float(r.mean()),
    )


def edit_distance(one: Sequence[str], other: Sequence[str]) -> float:
    """Words inserted, deleted or replaced to turn one text into the other, over the longer one's words; in [0, 1].

    Levenshtein, Soviet Physics Doklady 1966. Two empty texts are 0 apart.
    """
    if not one or not other:
        return float(bool(one or other))
    number = {word: place for place, word in enumerate({*one, *other})}
    columns = np.array([number[word] for word in other])
    steps = np.arange(len(other) + 1)
    row = steps
    for count, word in enumerate(one, start=1):
        kept = np.minimum(row[:-1] + (columns != number[word]), row[1:] + 1)
        # What is inserted on the way: the cheapest start to the left, and a step for every word from there.
        row = np.minimum.accumulate(np.concatenate([[count], kept]) - steps) + steps
    return float(row[-1]) / max(len(one), len(other))


def word_judge(
    chosen: Sequence[Sequence[str]], rejected: Sequence[Sequence[str]], groups: Sequence[str], folds: int, ridge: float
) -> float | None:
    """Held-out accuracy of a logistic judge on which words an answer holds; a tie counts half.

    The judge is a Bradley-Terry model, P(chosen wins) = sigmoid(w . (words of chosen - words of rejected)).

    Args:
        chosen: words of every chosen answer.
        rejected: words of every rejected answer.
        groups: rows of one group (image) are in one fold.
        folds: number of folds.
        ridge: L2 penalty per row.

    Returns:
        None where there are fewer groups than folds.
    """
    fold = np.array(
        [int(hashlib.sha256(group.encode("utf-8", "replace")).hexdigest()[:8], 16) % folds for group in groups]
    )
    if len(set(groups)) < folds or len(np.unique(fold)) < 2:
        return None
    differences = _differences(chosen, rejected)
    right = 0.0
    for held in np.unique(fold):
        weights = _fit(differences[fold != held], ridge)
        margin = differences[fold == held] @ weights
        right += float((margin > 0).sum()) + 0.5 * float((margin == 0).sum())
    return right / len(groups)


def _differences(chosen: Sequence[Sequence[str]], rejected: Sequence[Sequence[str]]) -> Any:
    from scipy.sparse import csr_matrix

    counts = Counter(word for c, r in zip(chosen, rejected, strict=True) for word in {*c, *r})
    columns = {word: index for index, word in enumerate(sorted(w for w, n in counts.items() if n >= _RAREST))}
    rows, where, values = [], [], []
    for number, (c, r) in enumerate(zip(chosen, rejected, strict=True)):
        for sign, side in ((1.0, set(c) - set(r)), (-1.0, set(r) - set(c))):
            for word in sorted(side & columns.keys()):
                rows.append(number)
                where.append(columns[word])
                values.append(sign)
    return csr_matrix((values, (rows, where)), shape=(len(chosen), max(1, len(columns))))


def _fit(x: Any, ridge: float) -> NDArray[np.float64]:
    from scipy.optimize import minimize

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = x @ w
        value = float(np.logaddexp(0.0, -margin).mean()) + 0.5 * ridge * float(w @ w)
        slope = -1.0 / (1.0 + np.exp(np.clip(margin, -500, 500)))
        return value, np.asarray(x.T @ slope / x.shape[0] + ridge * w)

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x)
