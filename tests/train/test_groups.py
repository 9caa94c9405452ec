"""Pairs to groups: which answer tokens weigh more, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.config import TrainSettings
from mmedpo.train.groups import Kept, edited_tokens

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


@given(st.lists(st.integers(1, 17), min_size=1, max_size=5), st.integers(2, 6), st.integers(0, 3))
def test_the_questions_of_an_image_are_dealt_out_evenly(sizes: list[int], most: int, seed: int) -> None:
    image_of = {f"{image}-{n}": str(image) for image, size in enumerate(sizes) for n in range(size)}
    keys = Kept("image", most, seed).keys(image_of)
    assert set(keys) == set(image_of)
    groups: dict[str, list[str]] = {}
    for question, key in keys.items():
        groups.setdefault(key, []).append(question)
    assert all(len({image_of[question] for question in group}) == 1 for group in groups.values())
    for image, size in enumerate(sizes):
        own = [len(group) for group in groups.values() if image_of[group[0]] == str(image)]
        assert len(own) == -(-size // most)
        assert max(own) <= most
        assert max(own) - min(own) <= 1


def test_which_questions_stand_together_is_drawn_and_does_not_depend_on_their_order() -> None:
    image_of = {f"q{n}": "a" for n in range(12)}
    kept = Kept("image", 4, 0)
    assert kept.keys(image_of) == kept.keys(dict(reversed(image_of.items())))
    assert Kept("image", 4, 1).keys(image_of) != kept.keys(image_of)
    # Without a bound an image is one group; by question, nothing is kept together but the pairs of one.
    assert set(Kept("image").keys(image_of).values()) == {"a/0"}
    assert Kept("example").keys(image_of) == {question: question for question in image_of}


@pytest.mark.parametrize("grouping", ["none", "example"])
def test_how_many_questions_of_an_image_is_refused_where_nothing_is_grouped_by_image(grouping: str) -> None:
    with pytest.raises(ValueError, match=r"train\.group_questions"):
        TrainSettings.model_validate({"grouping": grouping, "group_questions": 4})
