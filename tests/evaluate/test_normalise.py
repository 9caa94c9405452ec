"""Normalisation: what the VQA scorer's rules do to real answers, and the accidents of the published code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.evaluate.normalise import (
    CONTRACTIONS,
    plain_tokens,
    released_text,
    strict_tokens,
)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The left lung.", ("left", "lung")),
        ("X-ray (PA view)", ("x", "ray", "pa", "view")),
        ("Two lesions, three nodules", ("2", "lesions", "3", "nodules")),
        ("None", ("0",)),
        ("2.5 cm", ("2.5", "cm")),
        (".5 cm", ("0.5", "cm")),
        ("1,200 ml", ("1200", "ml")),
        ("It isn't enlarged", ("it", "is", "not", "enlarged")),
        ("it isnt enlarged", ("it", "is", "not", "enlarged")),
        ("it isn\u2019t enlarged", ("it", "is", "not", "enlarged")),
        ("cannot tell", ("can", "not", "tell")),
        ("won't", ("will", "not")),
        ("patient's right", ("patient's", "right")),
        ("'left'", ("left",)),
        ("lung.Heart", ("lung", "heart")),
        ("the", ()),
        ("  \n", ()),
    ],
)
def test_strict_tokens(text: str, tokens: tuple[str, ...]) -> None:
    assert strict_tokens(text) == tokens


def test_strict_tokens_can_keep_articles() -> None:
    assert strict_tokens("A. The heart", keep_articles=True) == ("a", "the", "heart")


def test_plain_tokens_keep_articles_and_number_words() -> None:
    assert plain_tokens("There is a nodule; no effusion. Size: 2.5 cm.") == (
        *("there", "is", "a", "nodule", "no", "effusion"),
        *("size", "2.5", "cm"),
    )


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=60))
def test_strict_tokens_are_a_fixed_point_and_ignore_case(text: str) -> None:
    once = strict_tokens(text)
    assert strict_tokens(" ".join(once)) == once
    assert strict_tokens(text.upper()) == once


def test_strict_number_words_and_digits_agree() -> None:
    assert strict_tokens("one mass") == strict_tokens("1 mass")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Left Lung.", "left lung"),
        ("x-ray", "x ray"),
        # A blank beside any hyphen makes every hyphen vanish instead of separating.
        ("x-ray - chest", "xray chest"),
        # A grouped number makes every mark vanish.
        ("1,200 ml/day", "1200 mlday"),
        ("lung.Heart", "lungheart"),
        ("2.5 cm.", "2.5 cm"),
        ("dont", "don't"),
        ("two none", "2 0"),
        # Only the first 32 periods are removed.
        ("." * 33, "."),
    ],
)
def test_released_text_keeps_the_published_accidents(text: str, expected: str) -> None:
    assert released_text(text) == expected


def test_contractions_are_the_lower_case_ones_of_the_vqa_scorer() -> None:
    # 116 rows in the VQA scorer; three with capitals can never match lower-case text, and two map to themselves.
    assert len(CONTRACTIONS) == 113
    assert CONTRACTIONS["couldn'tve"] == "couldn't've"
    assert CONTRACTIONS["yall"] == "y'all"
