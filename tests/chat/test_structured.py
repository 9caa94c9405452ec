"""Reading a reply of a fixed form: exactly one object, strictly, and never from prose."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.chat.structured import ReplyForm, parse_form, schema_of


class Scored(ReplyForm):
    reason: str
    score: int
    note: str | None = None


@pytest.mark.parametrize(
    "text",
    [
        '{"reason": "r", "score": 7}',
        '  {"score": 7, "reason": "r"}\n',
        '```json\n{"reason": "r", "score": 7}\n```',
        'Here it is: {"reason": "r", "score": 7}. Is that fine?',
        '{"reason": "r", "score": 7} and once more {"score": 7, "reason": "r"}',
        '<think>{"reason": "other", "score": 1}</think>{"reason": "r", "score": 7}',
    ],
)
def test_one_object_is_read(text: str) -> None:
    assert parse_form(text, Scored) == Scored(reason="r", score=7)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON object"),
        ("7", "no JSON object"),
        ("score: 7", "no JSON object"),
        ("[7]", "no JSON object"),
        ('{"reason": "r", "score": 7', "no JSON object"),
        ('{"reason": "r", "score": 7} {"reason": "r", "score": 10}', "2 different JSON objects"),
        ('{"reason": "r", "score": 1, "score": 10}', "twice"),
        ('{"reason": "r", "score": NaN}', "no JSON number"),
        ('{"reason": "r", "score": "7"}', "score: "),
        ('{"reason": "r", "score": 7.0}', "score: "),
        ('{"reason": "r", "score": true}', "score: "),
        ('{"reason": "r", "score": null}', "score: "),
        ('{"reason": "r"}', "score: Field required"),
        ('{"reason": "r", "score": 7, "extra": 1}', "extra: "),
        ('{"answer": {"reason": "r", "score": 7}}', "Field required"),
    ],
)
def test_everything_else_is_refused_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_form(text, Scored)


@given(st.text(max_size=200), st.text(max_size=50), st.integers())
def test_no_text_breaks_the_reader(noise: str, reason: str, score: int) -> None:
    for text in (noise, json.dumps({"reason": noise, "score": noise}), "{" * 3000 + noise):
        with suppress(ValueError):
            parse_form(text, Scored)
    assert parse_form(json.dumps({"reason": reason, "score": score}), Scored) == Scored(reason=reason, score=score)


def test_a_schema_is_made_once() -> None:
    assert schema_of(Scored) is schema_of(Scored)


def test_a_schema_is_closed_and_asks_for_every_field() -> None:
    schema = schema_of(Scored)
    assert schema["required"] == ["reason", "score", "note"]
    assert schema["additionalProperties"] is False
    assert all("default" not in field for field in schema["properties"].values())


def test_a_fault_does_not_quote_the_reply() -> None:
    for text in ('{"reason": 5, "score": "Mrs Example"}', '{"reason": "r", "score": 1, "Mrs": "Example"} x'):
        with pytest.raises(ValueError, match=r"^\w+: ") as caught:
            parse_form(text, Scored)
        assert "Example" not in str(caught.value)
