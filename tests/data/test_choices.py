"""Alternatives of multiple-choice questions: kept with the answer among them, or refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.data.choices import BadChoices, choices_of, lettered, option_columns


@pytest.mark.parametrize(
    "cell",
    [
        ["CT", "MRI", "X-ray"],
        "['CT', 'MRI', 'X-ray']",
        '["CT", "MRI", "X-ray"]',
        "('CT', 'MRI', 'X-ray')",
        {"A": "CT", "B": "MRI", "C": "X-ray"},
        "{'A': 'CT', 'B': 'MRI', 'C': 'X-ray'}",
        "CT;MRI; X-ray",
        "CT|MRI|X-ray",
        "A: CT\nB: MRI\nC: X-ray",
        ["(A) CT", "(B) MRI", "(C) X-ray"],
        "A. CT; B. MRI; C. X-ray",
        {"text": ["CT", "MRI", "X-ray"], "label": ["A", "B", "C"]},
        [{"label": "A", "text": "CT"}, {"label": "B", "text": "MRI"}, {"label": "C", "text": "X-ray"}],
        '[{"id": 1, "text": "CT"}, {"id": 2, "text": "MRI"}, {"id": 3, "text": "X-ray"}]',
    ],
)
def test_every_spelling_of_a_list_is_read(cell: Any) -> None:
    assert choices_of(cell) == (("CT", "MRI", "X-ray"), "ABC")


@pytest.mark.parametrize(
    "cell",
    [
        {"B": "MRI", "A": "CT"},
        {"text": ["MRI", "CT"], "label": ["B", "A"]},
        [{"key": "b", "content": "MRI"}, {"key": "a", "content": "CT"}],
        "(B) MRI; (A) CT",
    ],
)
def test_a_letter_means_its_own_alternative_in_any_order(cell: Any) -> None:
    assert (choices_of(cell).meant("A"), choices_of(cell).meant("(b)")) == ("CT", "MRI")


@pytest.mark.parametrize(
    "cell",
    [
        "A:Computed tomography",
        "MRI",
        "",
        [],
        ["CT"],
        ["CT", None],
        7,
        "[" * 9000,
        {},
        {"text": []},
        {"A": "CT", "B": None},
        "{}",
    ],
)
def test_what_is_no_list_is_refused_shortly(cell: Any) -> None:
    with pytest.raises(BadChoices) as caught:
        choices_of(cell)
    assert len(str(caught.value)) < 160


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        ("MRI", "MRI"),
        (" mri. ", "MRI"),
        ("B", "MRI"),
        ("(b)", "MRI"),
        ("B.", "MRI"),
        ("B: MRI", "MRI"),
        ("D", ""),
        ("PET", ""),
    ],
)
def test_an_answer_is_one_of_the_alternatives_by_text_or_letter(answer: str, meant: str) -> None:
    assert choices_of(["CT", "MRI", "X-ray"]).meant(answer) == meant


def test_an_alternative_that_is_a_letter_itself_is_not_taken_for_one() -> None:
    assert choices_of(["B", "A"]).meant("A") == "A", "vitamin A, lead A"
    assert choices_of(["A: yes", "C: no"]).texts == ("A: yes", "C: no"), "not the letters of their places"
    assert lettered("AC", ["A: yes", "C: no"]) == (("yes", "no"), "AC"), "between them one was left empty"
    assert choices_of(["E. coli", "S. aureus"]).meant("S. aureus") == "S. aureus"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Figure_path", "Choice A", "Choice B", "Choice C"], ["Choice A", "Choice B", "Choice C"]),
        (["index", "B", "A", "C", "answer"], ["A", "B", "C"]),
        (["option_a", "option_b"], ["option_a", "option_b"]),
        (["A", "answer"], []),
        (["A", "C"], []),
        (["Question", "Answer"], []),
    ],
)
def test_columns_of_single_alternatives_are_told_by_their_letters(names: list[str], found: list[str]) -> None:
    assert option_columns(names) == found


@given(st.lists(st.text("abcxyz ", min_size=1).map(str.strip).filter(bool), min_size=2, max_size=5, unique=True))
def test_a_list_and_its_spellings_are_the_same(options: list[str]) -> None:
    assert choices_of(options) == choices_of(repr(options)) == choices_of(";".join(options))
    assert choices_of(options).texts == tuple(options)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["opa", "opb", "opc"], ["opa", "opb", "opc"]),
        (["option2", "option1", "question"], ["option1", "option2"]),
        (["choice_0", "choice_1", "choice_2"], ["choice_0", "choice_1", "choice_2"]),
        (["option1"], []),
        (["option1", "option3"], []),
        (["1", "2"], []),
    ],
)
def test_columns_may_be_numbered(names: list[str], expected: list[str]) -> None:
    assert option_columns(names) == expected
