"""One language model as the stages see it, against a real server: faults, retries, cache, limits, secrets."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from chat.chat_server import ChatServer
from chat.lines import open_line, request, with_line
from chat.scripts import (
    always,
    answer,
    cut,
    delayed,
    hang,
    incomplete,
    malformed,
    redirect,
    sequence,
    status,
    truncated,
)
from mmedpo.chat.line import Line
from mmedpo.chat.model import CallFailed, ChatReply
from mmedpo.errors import BudgetError, ChatError

PATIENT = "Mrs Example, born 1950, has a nodule"


async def ask_once(line: Line) -> ChatReply:
    return await line.ask(request(PATIENT))


def test_an_answer_comes_with_model_and_usage(tmp_path: Path) -> None:
    with ChatServer(always(answer("yes", usage=(31, 4), model="gpt-x-2026"))) as server:
        reply = with_line(server.url, tmp_path / "c.sqlite", ask_once, extra={"seed": 7})
    assert (reply.text, reply.model, reply.finish) == ("yes", "gpt-x-2026", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated) == (31, 4, False)
    (body,) = server.requests
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": PATIENT}],
        "temperature": 0.0,
        "max_tokens": 512,
        "seed": 7,
    }


@pytest.mark.parametrize(
    "fault",
    [
        status(429, {"Retry-After": "0"}),
        status(500),
        status(503),
        cut(),
        cut(0.5),
        truncated(),
        malformed(),
        incomplete("choices"),
        incomplete("choice"),
        hang(),
    ],
    ids=["429", "500", "503", "cut", "cut-body", "truncated", "html", "no-choices", "no-choice", "timeout"],
)
def test_a_passing_fault_is_tried_again(tmp_path: Path, fault) -> None:
    with ChatServer(sequence([fault, fault, answer("fine")])) as server:
        reply = with_line(server.url, tmp_path / "c.sqlite", ask_once, timeout=0.3)
    assert reply.text == "fine"
    assert len(server.requests) == 3


def test_an_answer_without_usage_is_estimated_and_says_so(tmp_path: Path) -> None:
    with ChatServer(always(incomplete("usage"))) as server:
        reply = with_line(server.url, tmp_path / "c.sqlite", ask_once)
    assert reply.usage.estimated
    assert reply.usage.input_tokens >= len(PATIENT) // 4


def test_the_pause_a_server_asks_for_holds_for_the_whole_endpoint(tmp_path: Path) -> None:
    refused = status(429, {"Retry-After": "0.4"})
    arrived: list[float] = []

    def script(body, number):
        arrived.append(time.monotonic())
        return refused if number == 0 else answer("ok")

    async def two(line: Line) -> None:
        first = asyncio.create_task(line.ask(request("a")))
        await asyncio.sleep(0.15)
        await asyncio.gather(first, line.ask(request("b")))

    with ChatServer(script) as server:
        with_line(server.url, tmp_path / "c.sqlite", two, longest_wait=5.0)
    assert len(arrived) == 3
    assert all(moment - arrived[0] >= 0.39 for moment in arrived[1:])


def test_a_call_that_never_succeeds_fails_with_its_reason_and_is_not_stored(tmp_path: Path) -> None:
    with ChatServer(always(status(500))) as server:
        with pytest.raises(CallFailed, match=r"HTTP 500 \(scripted\), 3 times"):
            with_line(server.url, tmp_path / "c.sqlite", ask_once, attempts=3)
        assert len(server.requests) == 3
    with ChatServer(always(answer("later"))) as server:
        assert with_line(server.url, tmp_path / "c.sqlite", ask_once).text == "later"


def test_a_request_the_server_does_not_take_is_not_repeated(tmp_path: Path) -> None:
    with ChatServer(always(status(400))) as server, pytest.raises(CallFailed, match="HTTP 400"):
        with_line(server.url, tmp_path / "c.sqlite", ask_once)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(401), "not allowed"),
        (status(403), "not allowed"),
        (status(404), "check base_url and model='m'"),
        (redirect("http://127.0.0.1:9/v1/chat/completions"), "redirect, which is not followed"),
        (status(429, body=b'{"error": {"code": "insufficient_quota"}}'), "no money left"),
    ],
)
def test_what_every_call_would_meet_stops_at_once(tmp_path: Path, fault, words: str) -> None:
    with ChatServer(always(fault)) as server, pytest.raises(ChatError, match=words):
        with_line(server.url, tmp_path / "c.sqlite", ask_once)
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed_to_another_host(tmp_path: Path) -> None:
    with ChatServer(always(answer("stolen"))) as elsewhere:
        target = f"{elsewhere.url}/chat/completions"
        with ChatServer(always(redirect(target))) as server, pytest.raises(ChatError, match="redirect"):
            with_line(server.url, tmp_path / "c.sqlite", ask_once)
        assert elsewhere.requests == []


def test_a_local_endpoint_is_not_reached_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ChatServer(always(answer("proxy"))) as proxy, ChatServer(always(answer("direct"))) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", "")
        assert with_line(server.url, tmp_path / "c.sqlite", ask_once).text == "direct"
        assert proxy.received == []


def test_a_server_that_does_not_run_is_said_soon(tmp_path: Path) -> None:
    with ChatServer(always(answer("x"))) as server:
        url = server.url
    with pytest.raises(ChatError, match="cannot be reached at http://127.0.0.1:.*run again to go on"):
        with_line(url, tmp_path / "c.sqlite", ask_once)


def test_an_endpoint_that_fails_every_call_is_given_up(tmp_path: Path) -> None:
    async def many(line: Line) -> int:
        failed = 0
        for number in range(50):
            try:
                await line.ask(request(str(number)))
            except CallFailed:
                failed += 1
        return failed

    with ChatServer(always(status(500))) as server, pytest.raises(ChatError, match="10 calls in a row failed"):
        with_line(server.url, tmp_path / "c.sqlite", many, attempts=2)
    assert len(server.requests) == 20


def test_an_answer_is_paid_for_once(tmp_path: Path) -> None:
    async def thrice(line: Line) -> None:
        # Two at the same time share one call, a later one finds it stored.
        await asyncio.gather(line.ask(request("same")), line.ask(request("same")))
        await line.ask(request("same"))
        assert line.sent["answered"] == 1

    with ChatServer(delayed(0.05, always(answer("x")))) as server:
        with_line(server.url, tmp_path / "c.sqlite", thrice)
        with_line(server.url, tmp_path / "c.sqlite", thrice_from_cache, concurrency=3, timeout=9.0)
    assert len(server.requests) == 1


async def thrice_from_cache(line: Line) -> None:
    await line.ask(request("same"))
    assert (line.sent["answered"], line.sent["cached"]) == (0, 1)


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"temperature": 0.5}, {"max_tokens": 99}, {"top_p": 0.9}, {"extra": {"seed": 1}}],
    ids=lambda change: next(iter(change)),
)
def test_another_model_or_parameter_is_another_call(tmp_path: Path, change) -> None:
    with ChatServer(always(answer("x"))) as server:
        with_line(server.url, tmp_path / "c.sqlite", ask_once)
        with_line(server.url, tmp_path / "c.sqlite", ask_once, **change)
    assert len(server.requests) == 2


def test_prompt_version_and_sample_are_part_of_the_call(tmp_path: Path) -> None:
    async def three(line: Line) -> None:
        await line.ask(request("x"))
        await line.ask(request("x", sample=1))
        await line.ask(request("x", schema={"type": "object"}))

    with ChatServer(always(answer("x"))) as server:
        with_line(server.url, tmp_path / "c.sqlite", three)
    assert len(server.requests) == 3


def test_no_more_are_in_flight_than_allowed(tmp_path: Path) -> None:
    async def many(line: Line) -> None:
        await asyncio.gather(*(line.ask(request(str(n))) for n in range(40)))

    with ChatServer(delayed(0.03, always(answer("x")))) as server:
        with_line(server.url, tmp_path / "c.sqlite", many, concurrency=5)
    assert server.peak_in_flight == 5


def test_requests_a_minute_are_kept(tmp_path: Path) -> None:
    async def six(line: Line) -> None:
        await asyncio.gather(*(line.ask(request(str(n))) for n in range(6)))

    started = time.monotonic()
    with ChatServer(always(answer("x"))) as server:
        with_line(server.url, tmp_path / "c.sqlite", six, requests_per_minute=600)
    assert time.monotonic() - started >= 0.5  # the first at once, five more 0.1 s apart


def test_calls_are_limited_over_processes(tmp_path: Path) -> None:
    async def ask(line: Line, number: int) -> None:
        for item in range(number):
            await line.ask(request(str(item)))

    limits = {"max_calls": 5}
    with ChatServer(always(answer("x"))) as server:
        with_line(server.url, tmp_path / "c.sqlite", lambda line: ask(line, 3), limits)
        with pytest.raises(BudgetError, match=r"chat.max_calls=5 is reached \(5 calls made\)"):
            with_line(server.url, tmp_path / "c.sqlite", lambda line: ask(line, 9), limits)
    assert len(server.requests) == 5


def test_money_is_never_overspent_whatever_is_in_flight(tmp_path: Path) -> None:
    # 1 $ a token. A call costs 6 + 4 = 10 $ and can cost 33 or 34 $: one or two bytes, 16 around the turn, 16 out.
    prices = {"usd_per_million_input": 1e6, "usd_per_million_output": 1e6, "max_tokens": 16}
    spent = []

    async def many(line: Line) -> None:
        try:
            await asyncio.gather(*(line.ask(request(str(n))) for n in range(50)))
        finally:
            await asyncio.sleep(0.2)
            spent.append(line.budget.usd)

    with (
        ChatServer(delayed(0.02, always(answer("x", usage=(6, 4))))) as server,
        pytest.raises(BudgetError, match="max_usd"),
    ):
        with_line(server.url, tmp_path / "c.sqlite", many, {"max_usd": 100.0}, **prices)
    assert spent[0] <= 100.0
    # The seventh is sent with 60 $ spent (94 at most), an eighth with 70 $ spent could make 104.
    assert len(server.requests) == 7


def test_the_key_is_sent_and_stands_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    with ChatServer(sequence([status(500), answer("ok")])) as server:
        with_line(server.url, tmp_path / "c.sqlite", ask_once, api_key_env="SOME_KEY")
        assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    for file in tmp_path.iterdir():
        assert b"sk-very-secret" not in file.read_bytes()
    with ChatServer(always(status(401))) as server, pytest.raises(ChatError) as caught:
        with_line(server.url, tmp_path / "c2.sqlite", ask_once, api_key_env="SOME_KEY")
    assert "$SOME_KEY" in str(caught.value)
    assert "secret" not in str(caught.value) + caplog.text


def test_a_missing_key_is_named_by_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with pytest.raises(ChatError, match="SOME_KEY, which is not set"):
        with_line("http://127.0.0.1:9/v1", tmp_path / "c.sqlite", ask_once, api_key_env="SOME_KEY")


@pytest.mark.parametrize("fault", [status(400), status(404), status(500), malformed(PATIENT.encode()), cut(), hang()])
def test_no_error_carries_the_text_that_was_sent(tmp_path: Path, fault, caplog: pytest.LogCaptureFixture) -> None:
    import traceback

    echoing = f'{{"error": {{"message": "{PATIENT}", "code": "{PATIENT}"}}}}'.encode()
    for action in (fault, status(422, body=echoing)):
        with ChatServer(always(action)) as server, pytest.raises((CallFailed, ChatError)) as caught:
            with_line(server.url, tmp_path / "c.sqlite", ask_once, attempts=2, timeout=0.2)
        assert "Mrs Example" not in "".join(traceback.format_exception(caught.value))
    assert "Mrs Example" not in caplog.text


def test_a_cancelled_call_leaves_no_debt(tmp_path: Path) -> None:
    async def cancel(line: Line) -> None:
        task = asyncio.create_task(line.ask(request("x")))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await line.ask(request("y"))

    with ChatServer(sequence([hang(), answer("x")])) as server:
        with_line(server.url, tmp_path / "c.sqlite", cancel, {"max_calls": 1})
    assert len(server.requests) == 2


def test_lines_of_two_runs_share_answers_and_not_their_bills(tmp_path: Path) -> None:
    async def main() -> None:
        cache = tmp_path / "shared.sqlite"
        async with open_line(server.url, cache, run="one") as one:
            await one.ask(request("x"))
            assert one.cache.spent().calls == 1
        async with open_line(server.url, cache, run="two") as two:
            await two.ask(request("x"))
            assert two.cache.spent().calls == 0

    with ChatServer(always(answer("x"))) as server:
        asyncio.run(main())
    assert len(server.requests) == 1


def test_an_answer_that_waits_for_its_commit_is_kept_when_the_stage_breaks_off(tmp_path: Path) -> None:
    from mmedpo.chat.cache import AnsweredCall
    from mmedpo.chat.model import Usage

    async def break_off(line: Line) -> None:
        call = AnsweredCall(line.key(request("x")), "judge", request("x"), ChatReply("kept", "m", "stop", Usage(1, 1)))
        task = asyncio.create_task(line.cache.put(call))
        await asyncio.sleep(0)
        task.cancel()

    async def ask(line: Line) -> str:
        return (await line.ask(request("x"))).text

    url = "http://127.0.0.1:9/v1"
    with_line(url, tmp_path / "c.sqlite", break_off)
    assert with_line(url, tmp_path / "c.sqlite", ask) == "kept"


def test_a_tokenizer_that_takes_every_byte_for_a_token_does_not_break_the_limit(tmp_path: Path) -> None:
    prices = {"usd_per_million_input": 1e6, "usd_per_million_output": 1e6, "max_tokens": 16}

    def every_byte(body, number):
        return answer("x", usage=(sum(len(turn["content"].encode()) for turn in body["messages"]), 16))

    async def many(line: Line) -> None:
        for number in range(20):
            await line.ask(request(f"{number}: " + "5" * 90))

    with ChatServer(every_byte) as server:
        with pytest.raises(BudgetError, match="max_usd"):
            with_line(server.url, tmp_path / "c.sqlite", many, {"max_usd": 500.0}, **prices)
        spent = sum(sum(len(turn["content"]) for turn in body["messages"]) + 16 for body in server.requests)
    assert spent <= 500
