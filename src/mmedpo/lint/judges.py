"""Judges that never see the image: what they get right, a model can learn without looking.

Both are measured, not assumed: the length judge as the better of "shorter wins" and "longer wins", the
bag-of-words judge on rows it was not fitted on, with all rows of an image in one fold.
"""

from __future__ import annotations

import hashlib
from array import array
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
    judge = WordJudge(folds)
    for c, r, group in zip(chosen, rejected, groups, strict=True):
        judge.see(c, r, group)
    return judge.accuracy(ridge)


class WordJudge:
    """The same for rows that come one by one; of a row it keeps a number for every word that tells its sides apart."""

    def __init__(self, folds: int) -> None:
        self._folds = folds
        self._numbers: dict[str, int] = {}
        self._seen_in = array("q")
        self._words, self._signs, self._ends = array("i"), array("b"), array("q", [0])
        self._fold, self._groups = array("q"), set[str]()

    def see(self, chosen: Sequence[str], rejected: Sequence[str], group: str) -> None:
        """Takes the words of both answers of a row; rows of one group (image) are in one fold."""
        c, r = set(chosen), set(rejected)
        for word in c | r:
            number = self._numbers.setdefault(word, len(self._numbers))
            if number == len(self._seen_in):
                self._seen_in.append(0)
            self._seen_in[number] += 1
            if word not in c or word not in r:
                self._words.append(number)
                self._signs.append(1 if word in c else -1)
        self._ends.append(len(self._words))
        digest = hashlib.sha256(group.encode("utf-8", "replace")).hexdigest()
        self._fold.append(int(digest[:8], 16) % self._folds)
        if len(self._groups) < self._folds:
            self._groups.add(group)

    def accuracy(self, ridge: float) -> float | None:
        """Held-out accuracy; see `word_judge`."""
        fold = np.array(self._fold)
        if len(self._groups) < self._folds or len(np.unique(fold)) < 2:
            return None
        differences = self._differences()
        right = 0.0
        for held in np.unique(fold):
            weights = _fit(differences[fold != held], ridge)
            margin = differences[fold == held] @ weights
            right += float((margin > 0).sum()) + 0.5 * float((margin == 0).sum())
        return right / len(fold)

    def _differences(self) -> Any:
        """CSR [rows, words]: 1 where only the chosen answer holds a word, -1 where only the rejected one does."""
        from scipy.sparse import csr_matrix

        kept = sorted(word for word, number in self._numbers.items() if self._seen_in[number] >= _RAREST)
        column = np.full(len(self._numbers), -1, dtype=np.int32)
        column[[self._numbers[word] for word in kept]] = np.arange(len(kept))
        columns = column[np.array(self._words)]
        used = columns >= 0
        ends = np.concatenate([[0], np.cumsum(used)])[np.array(self._ends)]
        values = np.array(self._signs, dtype=np.float64)[used]
        found = csr_matrix((values, columns[used], ends), shape=(len(self._fold), max(1, len(kept))))
        found.sort_indices()
        return found


def _fit(x: Any, ridge: float) -> NDArray[np.float64]:
    from scipy.optimize import minimize

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = x @ w
        value = float(np.logaddexp(0.0, -margin).mean()) + 0.5 * ridge * float(w @ w)
        slope = -1.0 / (1.0 + np.exp(np.clip(margin, -500, 500)))
        return value, np.asarray(x.T @ slope / x.shape[0] + ridge * w)

    found = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return np.asarray(found.x)
