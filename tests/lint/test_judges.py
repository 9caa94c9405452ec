"""How far apart two answers are, counted in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.lint.judges import edit_distance

WORDS = st.lists(st.sampled_from("abcd"), max_size=7)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("no effusion", "no effusion", 0.0),
        ("no effusion", "effusion", 1 / 2),
        ("left lower lobe", "right lower lobe", 1 / 3),
        ("a b c d", "b c d a", 2 / 4),
        ("yes", "no", 1.0),
        ("", "no", 1.0),
        ("", "", 0.0),
    ],
)
def test_the_distance_is_the_share_of_words_changed(one: str, other: str, expected: float) -> None:
    assert edit_distance(one.split(), other.split()) == pytest.approx(expected)


@given(WORDS, WORDS)
def test_it_is_levenshteins(one: list[str], other: list[str]) -> None:
    table = [[max(i, j) if not i or not j else 0 for j in range(len(other) + 1)] for i in range(len(one) + 1)]
    for i, a in enumerate(one, start=1):
        for j, b in enumerate(other, start=1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b))
    assert edit_distance(one, other) == pytest.approx(table[-1][-1] / max(len(one), len(other), 1))
    assert edit_distance(one, other) == edit_distance(other, one)
