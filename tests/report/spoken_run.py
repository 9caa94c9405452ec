"""A small finished run whose judge and agents were language models: every call, token and cent is known."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mmedpo.chat.cache import AnsweredCall, CallCache
from mmedpo.chat.model import ChatReply, ChatRequest, Usage, text_message
from mmedpo.config import RunSettings
from mmedpo.records import PreferencePair, Turn, Verdict
from mmedpo.run import Run
from report.finished_run import full_run

HOSTILE = '</pre></details><script>alert(1)</script><img src=x onerror="alert(2)"> I would say 7, not {"score": 10}.'
"""A reply that cannot be read, and that a page must not run."""

MODELS = {"chat:med42": "m42-health/Llama3-Med42-8B", "chat:biomistral": "BioMistral-7B#b4521"}


def spoken(pair_id: str, said: list[float | str]) -> list[Turn]:
    """A debate of two language models; a text is why one abstained. A call reads 400 tokens and writes 30.

    A refusal takes two calls (asked again once), a reply that cannot be read two, a failed call none that is answered.
    """
    found: list[Turn] = []
    standing: float | None = None
    for index, what in enumerate(said):
        agent = ("chat:med42", "chat:biomistral")[index % 2]
        score = what if isinstance(what, float) else None
        calls = 1 if score is not None else 0 if str(what).startswith("failed") else 2
        raws = {"unparsable": HOSTILE, "refused": "I'm sorry, I cannot help with that."}
        raw = raws.get(str(what), "") if score is None else f'{{"reason": "<b>grave</b>", "score": {score * 10:g}}}'
        found.append(
            Turn(
                pair_id=pair_id, agent=agent, round=index // 2 + 1, position=index + 1, score=score,
                agreed=score is not None and score == standing, raw=raw,
                reason="<b>grave</b>" if score is not None else str(what),
                model=MODELS[agent] if calls else "", calls=calls, input_tokens=400 * calls,
                output_tokens=30 * calls,
            )
        )  # fmt: skip
        standing = score if score is not None else standing
    return found


def chat_run(path: Path, cache: Path | None = None) -> Run:
    """The run of `full_run`, judged and debated by language models.

    Judge: one call a question, two for the written answer, three for the dropped one; a call reads 900 tokens, writes
    60 and costs $0.003. Calls are paid for in `calls.sqlite`, or in `cache`, where another run has paid for some too.
    """
    run = full_run(path)
    local = {"base_url": "http://127.0.0.1:8000/v1"}
    prices = {"usd_per_million_input": 2.0, "usd_per_million_output": 20.0}
    endpoints = {
        "gpt": {"model": "gpt-4o", "base_url": "https://llm.example.org/v1", "api_key_env": "GPT_KEY", **prices},
        "med42": {"model": "med42", **local},
        "biomistral": {"model": "biomistral", **local},
    }
    run.settings = RunSettings.model_validate(
        {
            "seed": 7,
            "chat": {"endpoints": endpoints, "cache": cache},
            "curate": {"judge": "chat:gpt"},
            "score": {"agents": ["chat:med42", "chat:biomistral"]},
        }
    )
    calls_of = {"injected": 2, "dropped": 3}
    verdicts = [
        verdict.model_copy(
            update={
                "judge": "chat:gpt", "model": "gpt-4o-2024-08-06#fp_1",
                "calls": (n := calls_of.get(verdict.outcome, 1)), "input_tokens": 900 * n, "output_tokens": 60 * n,
                "conflict": None,
                "reason": "same-polarity" if verdict.outcome == "dropped" else "the side is wrong",
            }
        )
        for verdict in run.read("verdicts.parquet", Verdict)
    ]  # fmt: skip
    run.write("verdicts.parquet", Verdict, verdicts)
    curated = run.read("curated.parquet", PreferencePair)
    run.write("curated.parquet", PreferencePair, [p.model_copy(update={"unscored_reason": ""}) for p in curated])
    debates: dict[str, list[float | str]] = {
        "q0/text": [0.3, 0.3],
        "q1/text": ["refused", 0.9, 0.9],
        "q2/text": [0.4, 0.8] * 5,
        "q3/text": [0.5, "unparsable", 0.5, 0.5],
        "q4/text": ["refused", "failed: HTTP 500, 8 times"] * 5,
    }
    run.write("debates.parquet", Turn, [turn for name, said in debates.items() for turn in spoken(name, said)])
    pay(cache or run.file("calls.sqlite"), run.path.name)
    if cache is not None:
        pay(cache, "another-run")
    return run


def pay(path: Path, run: str) -> None:
    """What the calls of `chat_run` cost: 9 of the judge, 21 of Med42 (one at the third try), 10 of BioMistral."""
    usage = {"gpt": (9, Usage(900, 60), 0.003), "med42": (21, Usage(400, 30), 0.0)}
    usage["biomistral"] = (10, Usage(400, 30, estimated=True), 0.0)
    cache = CallCache(path, run)
    calls = [
        AnsweredCall(
            f"{run} {endpoint} {n}",
            endpoint,
            ChatRequest((text_message("user", "?"),), "judge@1"),
            ChatReply("yes", endpoint, "stop", used),
            usd,
            3 if (endpoint, n) == ("med42", 0) else 1,
        )
        for endpoint, (number, used, usd) in usage.items()
        for n in range(number)
    ]

    async def store() -> None:
        await asyncio.gather(*(cache.put(call) for call in calls))

    asyncio.run(store())
    for endpoint, reason, times in (("med42", "HTTP 503", 2), ("biomistral", "HTTP 500", 40)):
        for _ in range(times):
            cache.failed(endpoint, reason)
    cache.close()
