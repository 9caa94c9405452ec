"""Pairs to groups: which answer tokens weigh more, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.train.groups import edited_tokens

ids = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("chosen", "rejected", "of_chosen", "of_rejected"),
    [
        ([1, 2, 3], [1, 9, 3], (1, 5, 1), (1, 5, 1)),
        ([1, 2, 3], [1, 2, 3], (1, 1, 1), (1, 1, 1)),
        ([1, 2], [8, 9], (5, 5), (5, 5)),
        ([1, 2, 3, 4], [1, 4], (1, 5, 5, 1), (1, 1)),
        ([7], [1, 7, 2], (1,), (5, 1, 5)),
    ],
    ids=["one replaced", "the same", "nothing alike", "left out", "put in"],
)
def test_only_the_tokens_in_which_the_answers_differ_weigh_more(
    chosen: list[int], rejected: list[int], of_chosen: Sequence[float], of_rejected: Sequence[float]
) -> None:
    assert edited_tokens(chosen, rejected, 5.0) == (of_chosen, of_rejected)


@given(ids, ids)
def test_what_weighs_1_is_the_same_text_on_both_sides(chosen: list[int], rejected: list[int]) -> None:
    sides = edited_tokens(chosen, rejected, 2.0)
    kept = [
        [token for token, weight in zip(tokens, weights, strict=True) if weight == 1.0]
        for tokens, weights in zip((chosen, rejected), sides, strict=True)
    ]
    assert kept[0] == kept[1]
    assert {weight for weights in sides for weight in weights} <= {1.0, 2.0}
    # What one answer alone says is never taken for agreement.
    assert all(w == 2.0 for token, w in zip(chosen, sides[0], strict=True) if token not in rejected)
    assert set(chosen).isdisjoint(rejected) or 1.0 in sides[0]


@given(ids, ids)
def test_the_sides_are_treated_alike_when_nothing_is_edited(answer: list[int], other: list[int]) -> None:
    assert edited_tokens(answer, answer, 3.0) == ((1.0,) * len(answer),) * 2
    assert edited_tokens(answer, other, 1.0) == ((1.0,) * len(answer), (1.0,) * len(other))
