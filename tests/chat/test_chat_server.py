"""The scriptable server does what its script says, counts what happened, and is quick enough to measure clients."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from chat import chat_server
from chat.chat_server import ChatServer
from chat.scripts import (
    TRANSIENT,
    always,
    answer,
    canonical,
    cut,
    delayed,
    failing,
    hang,
    incomplete,
    malformed,
    redirect,
    sequence,
    status,
    truncated,
)


def ask(server: ChatServer, content: str = "hi", timeout: float = 20.0):
    """One call by the client the product uses, without its retries."""
    with openai.OpenAI(base_url=server.url, api_key="secret", max_retries=0, timeout=timeout) as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": content}])


def post(server: ChatServer, content: str = "hi") -> http.client.HTTPResponse:
    port = int(server.url.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/v1/chat/completions", json.dumps({"content": content}))
    try:
        response = connection.getresponse()
        response.content = response.read()
        return response
    finally:
        connection.close()


def test_an_answer_arrives_whole_and_is_recorded_and_counted():
    with ChatServer(always(answer("yes", usage=(3, 4)))) as server:
        reply = ask(server)
        assert reply.choices[0].message.content == "yes"
        assert (reply.model, reply.choices[0].finish_reason) == ("served-name@rev", "stop")
        assert (reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.total_tokens) == (3, 4, 7)
        [request] = server.requests
        assert request == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        assert server.headers[0]["authorization"] == "Bearer secret"
        assert server.paid == {canonical(request): 1}
        ask(server)
        assert server.paid == {canonical(request): 2}


def test_a_refusal_has_no_text():
    with ChatServer(always(answer(None, refusal="I cannot"))) as server:
        message = ask(server).choices[0].message
        assert (message.content, message.refusal) == (None, "I cannot")


def test_statuses_arrive_with_their_headers_and_are_not_paid():
    script = sequence([status(429, {"Retry-After": "3"}), status(500), status(401), answer("at last")])
    with ChatServer(script) as server:
        with pytest.raises(openai.RateLimitError) as met:
            ask(server)
        assert met.value.response.headers["retry-after"] == "3"
        with pytest.raises(openai.InternalServerError, match="scripted 500"):
            ask(server)
        with pytest.raises(openai.AuthenticationError):
            ask(server)
        assert server.paid == {}
        assert [ask(server).choices[0].message.content for _ in range(2)] == ["at last"] * 2
        assert sum(server.paid.values()) == 2


@pytest.mark.parametrize("action", [cut(), cut(0.5)])
def test_a_cut_connection_is_an_error_and_not_paid(action):
    with ChatServer(always(action)) as server:
        with pytest.raises((http.client.RemoteDisconnected, http.client.IncompleteRead)):
            post(server)
        with pytest.raises(openai.APIConnectionError):
            ask(server)
        assert (len(server.requests), server.paid) == (2, {})


@pytest.mark.parametrize("action", [truncated(), malformed()])
def test_broken_json_arrives_as_sound_http(action):
    with ChatServer(always(action)) as server:
        response = post(server)
        assert response.status == 200
        with pytest.raises(json.JSONDecodeError):
            json.loads(response.content)
        assert server.paid == {}


@pytest.mark.parametrize("missing", ["choices", "usage", "choice", "content"])
def test_what_is_missing_is_missing(missing):
    with ChatServer(always(incomplete(missing))) as server:
        body = json.loads(post(server).content)
    assert ("choices" in body) == (missing != "choices")
    assert ("usage" in body) == (missing != "usage")
    if missing == "choice":
        assert body["choices"] == []
    if missing == "content":
        assert body["choices"][0]["message"]["content"] is None


def test_a_redirect_sends_the_same_body_elsewhere():
    with (
        ChatServer(always(answer("there"))) as other,
        ChatServer(always(redirect(f"{other.url}/chat/completions"))) as server,
    ):
        assert ask(server).choices[0].message.content == "there"
        assert other.requests == server.requests


def test_latency_and_hanging_take_the_time_they_say():
    with ChatServer(sequence([answer("late").after(0.2), hang()])) as server:
        start = time.monotonic()
        ask(server)
        assert time.monotonic() - start >= 0.2
        with pytest.raises(openai.APITimeoutError):
            ask(server, timeout=0.3)
        assert sum(server.paid.values()) == 1


def test_the_peak_counts_requests_that_wait_at_the_same_time():
    with ChatServer(delayed(0.3, always(answer("x")))) as server:
        for _ in range(2):
            ask(server)
        assert server.peak_in_flight == 1
        together = threading.Barrier(5)

        def one(number: int) -> None:
            together.wait()
            ask(server, str(number))

        with ThreadPoolExecutor(5) as pool:
            list(pool.map(one, range(5)))
        assert server.peak_in_flight == 5


def test_a_client_that_left_is_neither_paid_nor_in_flight():
    with ChatServer(sequence([answer("x").after(0.5), answer("x").after(0.5)])) as server:
        with pytest.raises(openai.APITimeoutError):
            ask(server, timeout=0.1)
        ask(server)
        assert (server.peak_in_flight, sum(server.paid.values())) == (1, 1)


def test_a_large_answer_and_a_large_request_arrive_whole():
    text = "x" * 5_000_000
    with ChatServer(always(answer(text))) as server:
        assert ask(server, text).choices[0].message.content == text
        assert server.requests[0]["messages"][0]["content"] == text
        assert sum(server.paid.values()) == 1


def outcomes(seed: int, order: list[int]) -> dict[int, list[object]]:
    """By request: what happened to it each of three times, asked in that order."""
    script = failing(0.4, seed, lambda request, number: answer(f"to {request['n']}"))
    result: dict[int, list[object]] = {number: [] for number in order}
    for place in range(3):
        for number in order:
            result[number].append(script({"n": number}, place))
    return result


def test_failures_are_drawn_by_request_and_repeat_in_any_order():
    order = list(range(500))
    first = outcomes(0, order)
    assert outcomes(0, order[::-1]) == first
    assert outcomes(1, order) != first
    failed = [[action != answer(f"to {n}") for action in actions] for n, actions in first.items()]
    # 600 of 1,500 expected, with a standard deviation of 19.
    assert 520 < sum(map(sum, failed)) < 680
    # A request that failed is not bound to fail again: 0.4 ** 3 = 6.4 % do so three times, 21.6 % never.
    assert 15 < sum(map(all, failed)) < 52
    assert 75 < sum(not any(times) for times in failed) < 141
    assert {a for actions in first.values() for a in actions if a in TRANSIENT} == {*TRANSIENT}


def test_a_client_that_retries_gets_through_the_failures():
    with ChatServer(failing(0.3, 0, always(answer("x")))) as server:
        with openai.OpenAI(base_url=server.url, api_key="k", max_retries=6) as client:
            for n in range(10):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": str(n)}])
        assert len(server.requests) > 10
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == 10


def test_without_records_only_counts_remain():
    with ChatServer(always(answer("x")), record=False) as server:
        ask(server)
        assert (server.received, server.paid) == ([], {})
        assert server.stats == {"requests": 1, "answers": 1, "peak_in_flight": 1, "connections": 1}


def test_a_script_that_raises_fails_the_test():
    def script(request, number):
        raise LookupError("no such prompt")

    with (
        pytest.raises(LookupError, match="no such prompt"),
        ChatServer(script) as server,
        pytest.raises(openai.InternalServerError),
    ):
        ask(server)


def test_it_runs_as_a_process_of_its_own():
    command = [sys.executable, chat_server.__file__, "--latency", "0.1", "--text", "seven"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().strip()
        root = url.removesuffix("/v1")
        with openai.OpenAI(base_url=url, api_key="k", max_retries=0) as client:
            assert [model.id for model in client.models.list()] == ["served-name@rev"]
            start = time.monotonic()
            reply = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
            assert time.monotonic() - start >= 0.1
        assert reply.choices[0].message.content == "seven"
        assert json.load(urllib.request.urlopen(f"{root}/health")) == {"status": "ok"}
        assert json.load(urllib.request.urlopen(f"{root}/stats"))["answers"] == 1
    finally:
        process.terminate()
        process.stdout.close()
        assert process.wait(timeout=20) == 0
