"""Data in a prompt stays data: no text can close its fence or begin a turn of its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.chat.prompts import Prompt, fence_for, without_template_marks

PROMPT = Prompt("p", 3, (("system", "be fair"), ("user", "Judge:\n${answer}\nof $${scale} points\n${truth}")))

marks = st.sampled_from(
    ["<|im_start|>", "<|eot_id|>", "[INST]", "[/INST]", "<s>", "</s>", "<<SYS>>", "<start_of_turn>", "<image>", "<bos>"]
)
hostile = st.lists(
    st.one_of(st.text(max_size=20), marks, st.just("</data-0000000000>"), st.just("${truth}")), max_size=6
)


@given(hostile.map("".join), hostile.map("".join))
def test_every_text_stands_between_its_marks_and_nowhere_else(answer: str, truth: str) -> None:
    _, user = PROMPT.fill({"answer": answer, "truth": truth}, {"scale": "10"})
    fence = fence_for([answer, truth])
    assert fence not in answer + truth
    kept_answer, kept_truth = without_template_marks(answer), without_template_marks(truth)
    assert user.text == (
        f"Judge:\n<{fence} answer>\n{kept_answer}\n</{fence}>\nof 10 points\n<{fence} truth>\n{kept_truth}\n</{fence}>"
    )


@given(hostile.map("".join))
def test_no_mark_of_a_chat_template_is_left(text: str) -> None:
    cleaned = without_template_marks(text)
    found = r"<\|[^|<>]{0,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<image>|<bos>"
    assert not re.search(found, cleaned, re.IGNORECASE)
    assert cleaned.replace(" ", "") == text.replace(" ", "")


def test_the_same_data_gives_the_same_prompt_and_other_data_another_fence() -> None:
    first, again = (PROMPT.fill({"answer": "a", "truth": "t"}, {"scale": "10"}) for _ in range(2))
    assert first == again
    assert fence_for(["a", "t"]) != fence_for(["b", "t"])
    assert PROMPT.label == "p@3"


def test_a_forgotten_field_is_an_error() -> None:
    with pytest.raises(KeyError):
        PROMPT.fill({"answer": "a"}, {"scale": "10"})
