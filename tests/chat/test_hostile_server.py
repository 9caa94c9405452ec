"""Servers that are broken or hostile: every reply is an answer or one counted failure, soon, and in little memory."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import time
import traceback
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.chat_server import ChatServer
from chat.lines import endpoint, request, with_line
from chat.raw_server import raw_server, reply, sending
from chat.scripts import Action, always, answer, sequence, status
from chat.speeches import SECRET, SPEECHES, body, completion
from mmedpo.chat.kinds.openai_endpoint import MOST_BYTES
from mmedpo.chat.line import Line
from mmedpo.chat.model import CallFailed, ChatReply
from mmedpo.chat.wire import MOST_TOKENS, error_code, parse_completion, retry_after
from mmedpo.errors import ChatError


@pytest.mark.parametrize("name", SPEECHES)
def test_whatever_a_server_sends_is_one_counted_failure_that_quotes_nothing(tmp_path: Path, name: str) -> None:
    speech, reason = SPEECHES[name]
    started = time.monotonic()
    counted: list[dict[str, int]] = []
    patience = 1.0 if "timeout" in reason else 3.0

    async def ask(line: Line) -> None:
        try:
            await line.ask(request(SECRET))
        finally:
            counted.append(dict(line.sent))

    with raw_server(speech) as url, pytest.raises(CallFailed, match=reason) as caught:
        with_line(url, tmp_path / "c.sqlite", ask, attempts=1, timeout=patience)
    assert time.monotonic() - started < 15
    assert sum(counted[0].values()) == 1
    told = "".join(traceback.format_exception(caught.value))
    assert "Example" not in told
    assert len(str(caught.value)) < 80


def test_a_reset_connection_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with raw_server(SPEECHES["a reset in the middle"][0]) as url, pytest.raises(CallFailed):
        with_line(url, tmp_path / "c.sqlite", lambda line: line.ask(request("x")), attempts=1)
    gc.collect()
    assert capfd.readouterr() == ("", "")


def test_what_a_server_sends_late_is_no_answer_to_the_next_call(tmp_path: Path) -> None:
    """A second reply to the first call, on a connection that is kept, must not answer the second call."""

    async def two(line: Line) -> list[str]:
        first = await line.ask(request("a"))
        await asyncio.sleep(0.3)
        return [first.text, (await line.ask(request("b"))).text]

    with raw_server(sending(reply(body("one")), 0.1, reply(body("late")), 1.0)) as url:
        assert with_line(url, tmp_path / "c.sqlite", two, attempts=1) == ["one", "one"]


@pytest.mark.parametrize("name", ["endless chunks", "a bomb in gzip"])
def test_memory_stays_flat_however_much_is_sent(tmp_path: Path, name: str) -> None:
    async def many(line: Line) -> None:
        asked = (line.ask(request(str(number))) for number in range(4))
        await asyncio.gather(*asked, return_exceptions=True)

    with raw_server(SPEECHES[name][0]) as url:
        tracemalloc.start()
        with_line(url, tmp_path / "c.sqlite", many, attempts=1, timeout=5.0, concurrency=2)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # Two replies at a time, each with what it is copied to on its way.
    assert peak < 2 * 4 * MOST_BYTES


def test_a_server_that_packs_its_replies_unasked_is_understood(tmp_path: Path) -> None:
    for packed, encoding in ((gzip.compress(body()), "gzip"), (zlib.compress(body()), "deflate")):
        with raw_server(sending(reply(packed, f"Content-Encoding: {encoding}"))) as url:
            said = with_line(url, tmp_path / f"{encoding}.sqlite", lambda line: line.ask(request("x")))
        assert said.text == "fine"


def test_large_replies_that_a_model_may_give_are_read(tmp_path: Path) -> None:
    with ChatServer(always(answer("肺" * 131_072))) as server:
        assert len(with_line(server.url, tmp_path / "c.sqlite", lambda line: line.ask(request("x"))).text) == 131_072


# Numbers.


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10**30, "completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": 2**63},
        {"prompt_tokens": MOST_TOKENS + 1, "completion_tokens": 5},
        {"prompt_tokens": -1, "completion_tokens": 5},
        {"prompt_tokens": True, "completion_tokens": 5},
        {"prompt_tokens": 7.5, "completion_tokens": 5},
        {"prompt_tokens": "7", "completion_tokens": 5},
        {"prompt_tokens": float("inf"), "completion_tokens": float("nan")},
        {"prompt_tokens": None},
        {},
        [1, 2],
        "many",
        10**400,
    ],
    ids=str,
)
def test_tokens_that_are_no_number_of_tokens_are_estimated(tmp_path: Path, usage: Any) -> None:
    content = json.dumps(completion("yes", usage)).encode()
    prices = {"usd_per_million_input": 1.0, "usd_per_million_output": 1.0}

    async def ask(line: Line) -> tuple[ChatReply, float]:
        said = await asyncio.wait_for(line.ask(request("hello")), 20)
        return said, line.budget.usd

    with ChatServer(always(status(200, body=content))) as server:
        said, usd = with_line(server.url, tmp_path / "c.sqlite", ask, {"max_usd": 1.0}, **prices)
        again, _ = with_line(server.url, tmp_path / "c.sqlite", ask, {"max_usd": 1.0}, **prices)
    assert said.text == "yes"
    assert said.usage.estimated
    assert 0 < usd < 1e-3
    assert again == said


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-7", 0.0),
        ("1e400", None),
        ("inf", None),
        ("nan", None),
        ("9" * 5000, None),
        ("soon", None),
        ("Mon, 01 Jan 0001 00:00:00 GMT", 0.0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", None),
        ("Mon, 01 Jan 2024", None),
        ("", None),
    ],
)
def test_the_pause_a_server_asks_for_is_a_number_or_nothing(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_a_pause_of_a_million_years_is_no_longer_than_the_longest(tmp_path: Path) -> None:
    started = time.monotonic()
    with ChatServer(sequence([status(503, {"Retry-After": "1" + "0" * 30}), answer("ok")])) as server:
        assert with_line(server.url, tmp_path / "c.sqlite", lambda line: line.ask(request("x"))).text == "ok"
    assert time.monotonic() - started < 5


# What is said.


@pytest.mark.parametrize(
    ("ended", "finish"),
    [
        ("stop", "stop"),
        (None, "stop"),
        ("STOP", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("content_filter", "refusal"),
        ("abort", "other"),
        ("error", "other"),
        ("tool_calls", "other"),
        (7, "other"),
        ({"type": "stop"}, "other"),
    ],
)
def test_only_what_a_model_ended_itself_counts_as_ended(ended: Any, finish: str) -> None:
    said = parse_completion(body(finish_reason=ended), endpoint("http://127.0.0.1/v1"), request("x"))
    assert said.finish == finish


def test_thoughts_that_come_apart_are_never_the_reply() -> None:
    asked = endpoint("http://127.0.0.1/v1"), request("x")
    apart = {"role": "assistant", "content": None, "reasoning_content": '{"score": 5}', "reasoning": "so"}
    assert parse_completion(body(message=apart), *asked).text == ""
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
    assert parse_completion(body(parts), *asked).text == "yes"
    refused = [{"type": "refusal", "refusal": "I cannot"}]
    assert parse_completion(body(refused), *asked).finish == "refusal"
    with_thoughts = {"role": "assistant", "content": "no", "reasoning_content": "yes"}
    assert parse_completion(body(message=with_thoughts), *asked).text == "no"


def test_texts_that_no_file_takes_become_texts_that_one_takes(tmp_path: Path) -> None:
    """Half a pair of code units is valid in JSON, and an error in every file and database."""
    raw = b'{"model": "m\\ud800\\u001b[2J", "choices": [{"message": {"content": "a\\udfffb\\u0000"}}]}'
    with ChatServer(always(status(200, body=raw))) as server:
        said = with_line(server.url, tmp_path / "c.sqlite", lambda line: asyncio.wait_for(line.ask(request("x")), 20))
        stored = with_line(server.url, tmp_path / "c.sqlite", lambda line: line.ask(request("x")))
    assert (said.text, stored) == ("a?b\0", said)
    assert said.model.isprintable()
    assert said.model.encode()


def test_a_code_that_quotes_the_request_is_not_told() -> None:
    told = json.dumps({"error": {"code": "Example"}}).encode()
    assert error_code(told, request("Mrs EXAMPLE")) == ""
    assert error_code(told, request("hello")) == "Example"
    for other in (
        b"\xff",
        b"[1]",
        b'{"error": "x"}',
        b'{"error": {"code": 5}}',
        "{'code': 'é'}".encode(),
        b"[" * 10**5,
    ):
        assert error_code(other, request("hello")) == ""


# Whatever fails, nobody waits for ever.


@pytest.mark.parametrize(
    "failure", [OverflowError("int too large"), RuntimeError("odd"), ValueError("x"), KeyError("k")]
)
def test_a_failing_commit_ends_all_that_wait_for_it(
    tmp_path: Path, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(line: Line) -> list[BaseException | ChatReply]:
        def fail(rows: object) -> None:
            raise failure

        monkeypatch.setattr(line.cache, "_insert", fail)
        asked = (line.ask(request(str(number))) for number in range(4))
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)

    with ChatServer(always(answer("x"))) as server:
        ended = with_line(server.url, tmp_path / "c.sqlite", ask, {"max_calls": 100})
    assert all(end is failure for end in ended)


def test_an_answer_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    async def ask(line: Line) -> list[BaseException | ChatReply]:
        row = line.cache._row

        def odd(call: Any) -> Any:
            return (*row(call)[:-1], 2**70) if call.request.messages[0].text == "1" else row(call)

        line.cache._row = odd  # type: ignore[method-assign]
        asked = (line.ask(request(str(number))) for number in range(3))
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 20)

    with ChatServer(always(answer("x"))) as server:
        ended = with_line(server.url, tmp_path / "c.sqlite", ask)
    assert all(isinstance(end, ChatReply | Exception) for end in ended)
    assert isinstance(ended[1], Exception)


def test_a_call_that_waits_for_money_goes_on_when_the_one_before_fails(tmp_path: Path) -> None:
    """Also where that one is cancelled twice while it settles."""
    prices = {"usd_per_million_input": 1e6, "usd_per_million_output": 1e6, "max_tokens": 16, "attempts": 1}

    async def two(line: Line) -> str:
        first = asyncio.create_task(line.ask(request("a")))
        await asyncio.sleep(0.2)
        second = asyncio.create_task(line.ask(request("b")))
        await asyncio.sleep(0.05)
        first.cancel()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        return (await asyncio.wait_for(second, 20)).text

    with ChatServer(sequence([answer("late").after(30), answer("x")])) as server:
        assert with_line(server.url, tmp_path / "c.sqlite", two, {"max_usd": 40.0}, **prices) == "x"


@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["choices", "message", "content", "usage", "refusal", "finish_reason", "model", "text"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_no_body_breaks_the_reader(content: bytes) -> None:
    with suppress(CallFailed):
        said = parse_completion(content, endpoint("http://127.0.0.1/v1"), request(SECRET))
        assert said.text.encode() is not None
        assert said.model.isprintable()
        assert 0 <= said.usage.input_tokens <= MOST_TOKENS


@pytest.mark.long
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_on_the_line_break_the_client(tmp_path: Path, content: bytes, headed: bool) -> None:
    sent = reply(content) if headed else content
    store = tmp_path / f"{time.monotonic_ns()}.sqlite"
    with ChatServer(always(Action(sent, close=True))) as server, pytest.raises((CallFailed, ChatError)):
        with_line(server.url, store, lambda line: line.ask(request("x")), attempts=1, timeout=1.0)
