"""Tables of differences: who is subtracted from whom, which questions get an interval, and the correction."""

from __future__ import annotations

from itertools import pairwise

import pytest

from evaluate.scored import items
from mmedpo.evaluate.comparison import MINIMUM_BY_TYPE, compare, compare_by_type, split_scores

MODELS = ("base", "tuned")


def test_the_difference_is_the_later_model_minus_the_first() -> None:
    scored = [*items([0, 0, 0, 1]), *items([1, 1, 0, 1], "tuned")]
    (found,) = compare(scored, MODELS, "strict", ("test",), samples=200)
    assert (found.model, found.against) == ("tuned", "base")
    assert (found.before, found.after, found.difference) == (0.25, 0.75, 0.5)
    assert (found.questions, found.images) == (4, 4)


def test_only_the_named_protocol_and_split_are_compared() -> None:
    scored = [*items([0, 1]), *items([1, 1], "tuned")]
    scored += [*items([1, 1], protocol="released"), *items([0, 0], "tuned", protocol="released")]
    scored += [*items([1, 1], split="other", start=5), *items([0, 0], "tuned", split="other", start=5)]
    (found,) = compare(scored, MODELS, "strict", ("test",), samples=200)
    assert found.difference == 0.5
    scores = split_scores([item for item in scored if item.split == "test"], MODELS, "strict", "test")
    assert scores.summaries["tuned"].metrics["closed_accuracy"].mean == 1.0
    assert scores.other_protocols["released"]["tuned"].metrics["closed_accuracy"].mean == 0.0


def test_every_later_model_is_compared_with_the_first() -> None:
    scored = [*items([0, 0]), *items([1, 0], "round-1"), *items([1, 1], "tuned")]
    found = compare(scored, ("base", "round-1", "tuned"), "strict", ("test",), samples=200)
    assert [(item.model, item.against, item.difference) for item in found] == [
        ("round-1", "base", 0.5),
        ("tuned", "base", 1.0),
    ]


@pytest.mark.parametrize(("questions", "shown"), [(MINIMUM_BY_TYPE - 1, False), (MINIMUM_BY_TYPE, True)])
def test_an_error_type_with_few_questions_gets_no_interval(questions: int, shown: bool) -> None:
    right = [float(number % 2) for number in range(questions)]
    scored = [*items(right, error_type="side"), *items(right, "tuned", error_type="side")]
    many = [float(number % 3 == 0) for number in range(30)]
    scored += [*items(many, start=100), *items([1.0] * 30, "tuned", start=100)]
    found = compare_by_type(scored, MODELS, "strict", "test", samples=200)
    assert [item.error_type for item in found] == (["presence", "side"] if shown else ["presence"])
    assert found[0].difference == pytest.approx(2 / 3)


def test_p_values_are_adjusted_for_all_comparisons_of_the_table() -> None:
    scored = []
    for number, split in enumerate(("one", "two", "three")):
        gain = [1.0] * (8 + 4 * number) + [0.0] * 10
        scored += [*items([0.0] * len(gain), split=split), *items(gain, "tuned", split=split)]
    found = compare(scored, MODELS, "strict", ("one", "two", "three"), samples=500)
    ranked = sorted(found, key=lambda item: item.p_value)
    assert ranked[0].p_adjusted == pytest.approx(3 * ranked[0].p_value)
    assert all(a.p_adjusted <= b.p_adjusted for a, b in pairwise(ranked))
    alone = compare(scored, MODELS, "strict", ("one",), samples=500)
    assert alone[0].p_adjusted == alone[0].p_value == found[0].p_value
