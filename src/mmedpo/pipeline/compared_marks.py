"""What language models said of the answers of several runs, on the questions they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmedpo.errors import listed
from mmedpo.evaluate.comparison import compare_judged
from mmedpo.records import JudgedAnswers, JudgedModels


class Marked(NamedTuple):
    """The marks of one compared model, given beside the answers of the first model of its own run."""

    name: str
    """Column of the comparison."""
    against: str
    """The model of its run that it was marked beside, as the comparison names it."""
    rows: Sequence[JudgedAnswers]


def compared_marks(
    marked: Sequence[Marked], split: str, clusters: Mapping[str, str], samples: int
) -> tuple[tuple[JudgedModels, ...], list[str]]:
    """One table: every model against the one it was marked beside, and every later one against the first.

    Args:
        marked: the compared models that have marks, in order.
        split: the split of the table.
        clusters: question -> its image, of the questions that all runs ask there.
        samples: resamples behind each interval.

    Returns:
        The table, and what could not be compared, in words.
    """
    own = [
        row.model_copy(update={"model": one.name, "against": one.against})
        for one in marked
        for row in one.rows
        if row.example_id in clusters
    ]
    notes: list[str] = []
    between: list[JudgedAnswers] = []
    for judge in dict.fromkeys(row.judge for row in own):
        of_model = {one.name: [row for row in own if (row.judge, row.model) == (judge, one.name)] for one in marked}
        present = [name for name, rows in of_model.items() if rows]
        served = {name: {row.served for row in of_model[name] if row.served} for name in present}
        first, *later = present
        for name in later:
            if served[name] != served[first]:
                told = listed(sorted(served[first] | served[name]))
                notes.append(f"{judge} was not one model in {first} and {name} ({told}): their marks are not compared.")
            else:
                between += _between(of_model[first], of_model[name])
    return compare_judged([*own, *between], split, clusters, samples), notes


def _between(first: Sequence[JudgedAnswers], other: Sequence[JudgedAnswers]) -> list[JudgedAnswers]:
    """The marks of two models' answers to the questions that both were marked on."""
    of_first = {row.example_id: row for row in first}
    both = [(of_first[row.example_id], row) for row in other if row.example_id in of_first]
    return [
        row.model_copy(
            update={
                "against": before.model,
                "before": before.after,
                "unscored": row.unscored or before.unscored or _differ(before, row),
                "turned": False,
            }
        )
        for before, row in both
    ]


def _differ(one: JudgedAnswers, other: JudgedAnswers) -> str:
    """Why marks of a judge that changed in between are not compared; empty where they are."""
    return "" if one.after.keys() == other.after.keys() else "marked by other criteria"
