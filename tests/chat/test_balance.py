"""Several servers of one model: calls are shared by load, and a dead one costs no answer and no call paid twice."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from chat.chat_server import ChatServer
from chat.lines import endpoint, request
from chat.scripts import always, answer, status
from mmedpo.chat.balance import FAILURES, FIRST_REST, Balanced
from mmedpo.chat.model import ChatReply, ChatRequest, Transient, Usage
from mmedpo.chat.opening import open_chat
from mmedpo.config import ChatSettings, EndpointSettings, RunSettings
from mmedpo.errors import ChatError
from mmedpo.run import open_run


class Scripted:
    """A server that does as it is told; it answers when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.failure: Transient | None = None
        self.let = asyncio.Event()
        self.let.set()

    async def complete(self, asked: ChatRequest) -> ChatReply:
        self.calls += 1
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        return ChatReply("yes", "m", "stop", Usage(1, 1))

    async def close(self) -> None:
        pass


class Several:
    """Three of them, balanced, with a clock that is set by hand."""

    def __init__(self, number: int = 3) -> None:
        self.now, self.told = 0.0, list[str]()
        self.models = [Scripted() for _ in range(number)]
        named = [(f"http://s{place}", model) for place, model in enumerate(self.models)]
        self.balanced = Balanced("m", named, self.told.append, lambda: self.now)

    async def ask(self, times: int = 1) -> list[int]:
        """Calls that each server had of these, one after the other; failed ones count."""
        before = [model.calls for model in self.models]
        for _ in range(times):
            with contextlib.suppress(Transient):
                await self.balanced.complete(request())
        return [model.calls - old for model, old in zip(self.models, before, strict=True)]


def test_a_call_goes_where_the_fewest_are_in_flight() -> None:
    async def main() -> None:
        several = Several()
        slow = several.models[0]
        slow.let.clear()
        waiting = [asyncio.create_task(several.balanced.complete(request())) for _ in range(6)]
        await asyncio.sleep(0.01)
        assert [model.calls for model in several.models] == [1, 3, 2]
        assert await several.ask(30) == [0, 15, 15], "the slow one has one in flight, the others none"
        slow.let.set()
        await asyncio.gather(*waiting)
        assert sum(await several.ask(30)) == 30

    asyncio.run(main())


def test_a_refused_connection_costs_no_attempt_and_the_server_rests_longer_each_time() -> None:
    async def main() -> None:
        several = Several()
        dead = several.models[1]
        dead.failure = Transient("no connection", unreachable=True)
        for _ in range(20):
            assert (await several.balanced.complete(request())).text == "yes"
        assert dead.calls == 1
        assert several.told == [
            "endpoint 'm': http://s1 is left out (no connection); 2 of 3 servers go on, and it is tried again from "
            "time to time"
        ]
        tried = []
        for second in range(100):
            several.now = float(second)
            tried += [second] * (await several.ask(3))[1]
        assert tried == [FIRST_REST, 15, 35, 75], "after 5, 10, 20 and 40 seconds, one call each"
        dead.failure, several.now = None, 1000.0
        await several.ask(9)
        assert several.told[1:] == ["endpoint 'm': http://s1 answers again"]
        assert await several.ask(9) == [3, 3, 3]

    asyncio.run(main())


def test_calls_that_fail_in_a_row_are_not_sent_twice_and_then_the_server_rests() -> None:
    async def main() -> None:
        several = Several()
        several.models[2].failure = Transient("HTTP 500")
        assert sum(await several.ask(30)) == 30, "a call that may have been answered goes back to the line"
        assert several.models[2].calls == FAILURES
        busy = Several()
        busy.models[0].failure = Transient("HTTP 429", wait=1.0)
        await busy.ask(30)
        assert busy.told == [], "one that says when it takes more is alive"

    asyncio.run(main())


def test_an_answer_that_was_under_way_does_not_bring_a_dead_server_back() -> None:
    async def main() -> None:
        several = Several(2)
        dies = several.models[0]
        dies.let.clear()
        under_way = asyncio.create_task(several.balanced.complete(request()))
        await asyncio.sleep(0.01)
        dies.complete, answers = _refuse, dies.complete  # type: ignore[method-assign]
        for _ in range(3):
            several.models[1].let.clear()
            asked = asyncio.gather(*(several.balanced.complete(request()) for _ in range(4)))
            await asyncio.sleep(0.01)
            several.models[1].let.set()
            await asked
        dies.let.set()
        assert (await under_way).text == "yes"
        assert len(several.told) == 1, "it is left out once, and stays so"
        several.now, dies.complete = 1000.0, answers  # type: ignore[method-assign]
        await several.ask(4)
        assert several.told[1:] == ["endpoint 'm': http://s0 answers again"]

    asyncio.run(main())


async def _refuse(asked: ChatRequest) -> ChatReply:
    raise Transient("no connection", unreachable=True)


def test_when_all_refuse_the_line_is_told_so() -> None:
    async def main() -> None:
        several = Several()
        for model in several.models:
            model.failure = Transient("no connection", unreachable=True)
        with pytest.raises(Transient) as caught:
            await several.balanced.complete(request())
        assert caught.value.unreachable
        assert [model.calls for model in several.models] == [1, 1, 1]

    asyncio.run(main())


@pytest.mark.parametrize("urls", [("http://a/v1",), ("http://b/v1", "http://b/v1"), ("http://b/v1", ""), ("b",)])
def test_each_address_is_given_once(urls: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError):
        EndpointSettings(model="m", base_url="http://a/v1", base_urls=urls)
    with pytest.raises(ValidationError, match="base_urls"):
        EndpointSettings(model="m", base_urls=("http://a/v1",))


def test_four_servers_of_which_one_dies_answer_everything_and_each_call_once(tmp_path: Path) -> None:
    servers = [ChatServer(always(answer("yes").after(0.01))) for _ in range(4)]
    told, answered = list[str](), list[int]()
    for server in servers:
        server.__enter__()
    settings = endpoint(servers[0].url, base_urls=tuple(server.url for server in servers[1:]), concurrency=16)
    chosen = RunSettings(
        chat=ChatSettings(endpoints={"m": settings}), score={"agents": ("chat:m",)}, curate={"judge": "rules"}
    )

    async def main(run: object) -> None:
        async with open_chat(run, ("m",)) as chat:  # type: ignore[arg-type]
            line = chat.lines["m"]
            line.model._message = told.append  # type: ignore[attr-defined]

            async def ask(number: int) -> None:
                assert (await line.ask(request(f"question {number}"))).text == "yes"
                answered.append(number)
                if len(answered) == 200:
                    servers[2].stop()

            await asyncio.gather(*(ask(number) for number in range(400)))

    try:
        with open_run(tmp_path / "r", chosen) as run:
            asyncio.run(main(run))
    finally:
        for place in (0, 1, 3):
            servers[place].__exit__(None)
    paid = sum((server.paid for server in servers), start=type(servers[0].paid)())
    assert sum(paid.values()) == 400
    assert set(paid.values()) == {1}
    shares = [sum(server.paid.values()) for server in servers]
    assert min(shares[place] for place in (0, 1, 3)) > 90
    assert 20 < shares[2] < 80, "it had its share until it died"
    assert len(told) == 1
    assert servers[2].url in told[0]
    assert "3 of 4 servers go on" in told[0]


def test_servers_that_all_serve_no_such_model_are_told_as_ever(tmp_path: Path) -> None:
    with ChatServer(always(status(404))) as first, ChatServer(always(status(404))) as second:
        settings = endpoint(first.url, base_urls=(second.url,))
        chosen = RunSettings(chat=ChatSettings(endpoints={"m": settings}), score={"agents": ("chat:m",)})

        async def main(run: object) -> None:
            async with open_chat(run, ("m",)) as chat:  # type: ignore[arg-type]
                await chat.lines["m"].ask(request())

        with (
            open_run(tmp_path / "r", chosen) as run,
            pytest.raises(ChatError, match="answers HTTP 404 .*check base_url"),
        ):
            asyncio.run(main(run))
