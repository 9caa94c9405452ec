"""What a model thinks is no verdict, and a thought without end leaves none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.chat_server import ChatServer
from chat.lines import request, with_line
from chat.scripts import always, answer, sequence
from mmedpo.chat.line import Line
from mmedpo.chat.structured import Exchange, ReplyForm, ask_form, parse_form
from mmedpo.chat.thoughts import answer_in

SAID = '{"reason": "r", "score": 7}'
DRAFT = '{"reason": "draft", "score": 1}'


class Scored(ReplyForm):
    reason: str
    score: int


FAMILIES = {
    "DeepSeek-R1, Qwen3": ("<think>", "</think>"),
    "capitals": ("<THINK>", "</THINK>"),
    "with a level": ('<think level="high">', "</think>"),
    "with blanks": ("< think >", "</ think >"),
    "thinking": ("<thinking>", "</thinking>"),
    "EXAONE": ("<thought>", "</thought>"),
    "Step": ("<reasoning>", "</reasoning>"),
    "Seed-OSS": ("<seed:think>", "</seed:think>"),
    "LongCat": ("<longcat_think>", "</longcat_think>"),
    "a scratchpad": ("<scratchpad>", "</scratchpad>"),
    "a chain": ("<chain-of-thought>", "</chain-of-thought>"),
    "a monologue": ("<inner_monologue>", "</inner_monologue>"),
    "bars": ("<|think|>", "<|/think|>"),
    "Command A": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "OpenThoughts": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "wide bars": ("<｜think｜>", "<｜/think｜>"),
    "Magistral": ("[THINK]", "[/THINK]"),
    "Kimi-VL": ("◁think▷", "◁/think▷"),
    "MedGemma": ("<unused94>thought\n", "<unused95>"),
    "Gemma, channels": ("<|channel>thought\n", "<channel|>"),
    "gpt-oss": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "gpt-oss without its marks": ("analysisWe look at", "assistantfinal"),
    "HuatuoGPT-o1": ("## Thinking\n\n", "\n\n## Final Response\n\n"),
    "Apriel": ("Here are my reasoning steps:\n", "\n[BEGIN FINAL RESPONSE]\n"),
    "wide brackets": ("＜think＞", "＜/think＞"),
    "escaped": ("&lt;think&gt;", "&lt;/think&gt;"),
    "another language": ("<思考>", "</思考>"),
    "a plan": ("<planning>", "</planning>"),
    "folded away": ('<details type="reasoning">', "</details>"),
    "HyperCLOVA X": ("<|im_start|>assistant/think\n", "<|im_end|>\n<|im_start|>assistant\n"),
    "Ollama": ("Thinking...\n", "\n...done thinking.\n"),
    "Granite": ("Here is my thought process: ", "\nHere is my response: "),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thought_is_no_answer_and_one_without_end_leaves_none(family: str) -> None:
    begin, end = FAMILIES[family]
    wanted = Scored(reason="r", score=7)
    assert parse_form(f"{begin} perhaps {DRAFT}? {end}{SAID}", Scored) == wanted
    # Where the prompt has opened the thought already.
    assert parse_form(f"perhaps {DRAFT}? {end}{SAID}", Scored) == wanted
    for unfinished in (f"{begin} perhaps {SAID}", f"{begin}{SAID}", f"{begin} a {end} b\n{begin}{SAID}"):
        if begin.startswith(("analysisWe", "Here", "Thinking...")) and end in unfinished:
            continue  # these open a thought at the beginning only
        with pytest.raises(ValueError, match="its thought has no end"):
            parse_form(unfinished, Scored)
    # Nothing stands behind the thought.
    with pytest.raises(ValueError, match="no JSON object"):
        parse_form(f"{begin} perhaps {SAID} {end}", Scored)


FOLLOWING = ("gpt-oss", "gpt-oss without its marks", "HuatuoGPT-o1", "Apriel", "HyperCLOVA X", "Ollama", "Granite")
"""Families whose marks follow one another: the last one closes whatever was before it."""


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(FOLLOWING)))
def test_the_end_of_a_thought_inside_a_thought_ends_the_inner_one_alone(family: str) -> None:
    begin, end = FAMILIES[family]
    with pytest.raises(ValueError, match="its thought has no end"):
        parse_form(f"{begin}a {begin}b {end} {SAID}", Scored)
    with pytest.raises(ValueError, match="its thought has no end"):
        parse_form(f"{begin}a {begin}b {end} c {begin}d {end} {SAID}", Scored)
    assert parse_form(f"{begin}a {begin}b {DRAFT} {end} c {end} {SAID}", Scored).score == 7


def test_several_channels_of_thought_have_one_end() -> None:
    begin, end = FAMILIES["gpt-oss"]
    again = "<|end|><|start|>assistant<|channel|>commentary<|message|>"
    assert parse_form(f"{begin}a {DRAFT}{again}b {DRAFT}{end}{SAID}", Scored).score == 7
    assert parse_form(f"## Thinking\n\na\n\n## Thoughts again\n\nb\n\n## Final Response\n\n{SAID}", Scored).score == 7


@pytest.mark.parametrize("mark", ["<think>", "</think>", "[THINK]", "<|end_of_thought|>"])
def test_a_mark_that_is_spoken_of_opens_and_closes_nothing(mark: str) -> None:
    for quote in ("`", '"', "'"):
        quoted = f"{quote}{mark}{quote}"
        assert parse_form(f"<think>Is {quoted} a mark?</think>{SAID}", Scored).score == 7
        with pytest.raises(ValueError, match="its thought has no end"):
            parse_form(f"<think>I shall close with {quoted} then. {DRAFT}", Scored)


@pytest.mark.parametrize(
    "text",
    [
        f"<think>so\n## Final Answer\n{DRAFT}",
        f"<thinking>a <reflection>no</reflection> {DRAFT}",
        f"<think>a <|channel|>final<|message|> {DRAFT}",
        f"<think>a ... [/THOUGHT] {DRAFT}",
        f"```thinking\n{DRAFT}\n",
        f"<thinking>a <think>b</think> {DRAFT}",
        f"<think>a <thinking>b</thinking> {DRAFT}",
        f"<steps><step>1</step> {DRAFT}",
        f"thought\n<step>1</step> {DRAFT}",
    ],
)
def test_a_thought_ends_at_a_mark_of_its_own_kind(text: str) -> None:
    with pytest.raises(ValueError, match="its thought has no end"):
        parse_form(text, Scored)


def test_a_fenced_thought_ends_with_its_fence() -> None:
    assert parse_form(f"```thinking\n{DRAFT}\n```\n```json\n{SAID}\n```", Scored).score == 7


@pytest.mark.parametrize(
    "text",
    [
        f"I think that {SAID}",
        f"A thought: {SAID}",
        f"The nodule is <3 mm, and {SAID} > 2",
        f"[1] {SAID} [see above]",
        f"<b>{SAID}</b>",
        f"**Score**\n{SAID}",
        f"<answer>{SAID}</answer>",
        f"Sets look like {{a, b}}: {SAID}",
        f"<|message|>{SAID}<|return|>",
    ],
)
def test_a_reply_that_only_looks_like_it_is_read(text: str) -> None:
    assert parse_form(text, Scored) == Scored(reason="r", score=7)


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": ' + SAID,
        '{"list": [' + SAID + ", ",
        SAID + ' {"reason": "r", "sco',
        '{"reason": "r", "score": 7, "more": {"reason": "x", "score": 8}',
        "[" + SAID + ', {"reason"',
    ],
)
def test_what_lies_inside_a_cut_object_is_no_reply_of_its_own(text: str) -> None:
    with pytest.raises(ValueError, match="no JSON object that is whole"):
        parse_form(text, Scored)


def test_objects_inside_objects_without_end_are_refused_soon() -> None:
    for text in ('{"a":' * 50_000, '{"a":[' * 400 + "1" + "]}" * 400, ('{"a":[' + "1," * 200) * 500, '{"' * 100_000):
        with pytest.raises(ValueError, match="nested too deeply|whole"):
            parse_form(text, Scored)


@given(st.text(max_size=60), st.sampled_from(sorted(FAMILIES)), st.text(max_size=60))
def test_behind_the_last_closing_mark_lies_the_answer(before: str, family: str, after: str) -> None:
    begin, end = FAMILIES[family]
    if any(sign in after for sign in "<[◁【《「〈#*") or "here is" in after.lower():
        return
    assert answer_in(f"{begin}{before}{end}{after}").removesuffix(after).strip().startswith("<|") or (
        answer_in(f"{begin}{before}{end}{after}").strip() == after.strip()
    )


def ask(line: Line) -> object:
    return ask_form(line, request("x"), Scored, retries=0)


@pytest.mark.parametrize("finish", ["length", "max_tokens", "abort", "tool_calls", "error"])
def test_a_whole_object_in_a_reply_that_was_cut_is_no_verdict(tmp_path: Path, finish: str) -> None:
    with ChatServer(always(answer(SAID, finish=finish))) as server:
        ended: Exchange[Scored] = with_line(server.url, tmp_path / "c.sqlite", ask)
    assert (ended.value, ended.reason, ended.calls) == (None, "cut", 2)


def test_a_model_that_thought_too_long_may_say_it_again(tmp_path: Path) -> None:
    with ChatServer(sequence([answer(f"<think>{DRAFT}"), answer(f"<think>x</think>{SAID}")])) as server:
        ended: Exchange[Scored] = with_line(server.url, tmp_path / "c.sqlite", ask)
    assert ended.value == Scored(reason="r", score=7)
    assert ended.calls == 2


def test_a_reply_without_end_is_not_sent_back_whole(tmp_path: Path) -> None:
    with ChatServer(always(answer("babble " * 100_000))) as server:
        ended: Exchange[Scored] = with_line(server.url, tmp_path / "c.sqlite", ask)
    assert ended.reason == "unparsable"
    assert max(len(turn["content"]) for turn in server.requests[1]["messages"]) <= 20_000
