"""What an answer becomes on the mirrored image."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.clinical.mirrored import turned, turns


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Left lower zone", "Right lower zone"),
        ("RIGHT", "LEFT"),
        ("the left one", "the right one"),
        ("upright", "upright"),
        ("左肺", "右肺"),
    ],
)
def test_sides_turn_and_nothing_else(answer: str, expected: str) -> None:
    assert turned(answer) == expected


@given(st.lists(st.sampled_from(["left", "right", "lefty", "左", "右", " ", ", ", "Left", "RIGHT"])).map("".join))
def test_turned_twice_is_the_text(text: str) -> None:
    assert turned(turned(text)) == text


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("On which side is the effusion?", "left", True),
        ("Is it on the left, on the right or bilateral?", "on the right", True),
        ("Where is the nodule?", "in the left upper zone", True),
        ("左侧还是右侧?", "左侧", True),
        ("Is the effusion on the left?", "yes", False),
        ("Is the effusion on the left?", "on the left", False),
        ("Is the effusion on the left or the right?", "bilateral", False),
        ("Is the effusion on the left or the right?", "left and right", False),
        ("What does the image show?", "a left pleural effusion", False),
        ("What is the modality?", "x-ray", False),
    ],
)
def test_only_a_place_on_one_side_is_turned_by_a_mirror(question: str, answer: str, expected: bool) -> None:
    assert turns(question, answer) is expected
