"""The stage that has language models score answers (MMedPO, section 4.4.1): blind to whose they are, in both orders."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

from mmedpo.chat.answering import chat_images
from mmedpo.chat.estimate import Ahead, estimate
from mmedpo.chat.identity import asked_models
from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest
from mmedpo.chat.opening import Chat, open_chat
from mmedpo.chat.structured import Exchange, ask_form, growth, most_calls
from mmedpo.config import RunSettings, speaker
from mmedpo.evaluate.asked import compared, evaluated_examples
from mmedpo.evaluate.judges import AnswerJudge, Marks
from mmedpo.records import Example, JudgedAnswers, Prediction
from mmedpo.run import ItemWork, Run, Stage, picked, run_async
from mmedpo.run.layout import EXAMPLES, JUDGED, predictions_of

CHUNK = 100
"""Questions saved together."""
STAGE = "judge-answers"


class Case(NamedTuple):
    """Two answers to one question, for one judge."""

    judge: str
    example: Example
    model: str
    against: str
    after: str
    """Answer of `model`."""
    before: str
    """Answer of `against`."""


class _Seat(NamedTuple):
    """A judge and what it speaks through."""

    judge: AnswerJudge
    line: Line


def judge_stage(settings: RunSettings) -> Stage:
    """What the judging of answers is made from."""
    names = ("evaluate.judges", "evaluate.splits", "evaluate.answer_types")
    answers = tuple(predictions_of(model) for model in compared(settings))
    content = {**picked(settings, *names), **asked_models(settings, STAGE)}
    return Stage(STAGE, judge_answers, content, reads=(EXAMPLES, *answers), writes=(JUDGED,))


def judge_answers(run: Run) -> list[JudgedAnswers]:
    """Has every judge mark the answers of every later model beside those of the first, on the headline split.

    Reads `examples.parquet` and `predictions/<model>.parquet`; writes `judged.parquet`. Two answers that a judge could
    not mark, in either order, are unscored with the reason.

    Raises:
        BudgetError: the least this takes is more than what is left.
        Paused: only the estimate was asked for, or requests were written to batch files.
    """
    cases = _cases(run)
    run_async(_check_estimate(run, cases))
    rows = list(run.stream("judging answers", cases, CHUNK, partial(judging, run), JudgedAnswers))
    run.write(JUDGED, JudgedAnswers, rows)
    unscored = sum(bool(row.unscored) for row in rows)
    run.message(f"{len(rows)} pairs of answers judged, {unscored} of them unscored")
    return rows


@asynccontextmanager
async def judging(run: Run) -> AsyncIterator[ItemWork[Case, JudgedAnswers]]:
    """The judges of a run, open: each case in both orders at once, many cases at once."""
    async with open_chat(run, run.settings.used_endpoints(STAGE)) as chat:
        seats, retries = _seats(run, chat), run.settings.chat.retries

        async def settle(case: Case) -> JudgedAnswers:
            judge, line = seats[case.judge]
            check = getattr(judge, "check", lambda reply: None)
            asked = (ask_form(line, item, judge.form, retries, check) for item in _requests(run, seats, case))
            # Both orders come to their end, so that both are in the cache or in the batch file.
            said = await asyncio.gather(*asked, return_exceptions=True)
            exchanges = []
            for one in said:
                if isinstance(one, BaseException):
                    raise one
                exchanges.append(one)
            return judged(case, judge, exchanges)

        async with chat.items(settle) as work:
            yield work


def judged(case: Case, judge: AnswerJudge, said: Sequence[Exchange[Any]]) -> JudgedAnswers:
    """What both orders came to: the marks, or why there are none. Pure.

    Args:
        case: the answers.
        judge: who read the replies.
        said: the exchange in which A is the answer of `case.against`, then the one in which A is that of `case.model`.
    """
    named = {"example_id": case.example.example_id, "judge": case.judge, "model": case.model, "against": case.against}
    took = {
        "raw": "\n".join(exchange.raw for exchange in said if exchange.raw),
        "served": next((exchange.model for exchange in reversed(said) if exchange.model), ""),
        "calls": sum(exchange.calls for exchange in said),
        "input_tokens": sum(exchange.input_tokens for exchange in said),
        "output_tokens": sum(exchange.output_tokens for exchange in said),
    }
    silent = next((exchange.reason for exchange in said if exchange.value is None), "")
    if silent:
        return JudgedAnswers(**named, **took, unscored=silent)
    straight, swapped = (judge.marks(exchange.value) for exchange in said)
    sides = (straight.a, swapped.b), (straight.b, swapped.a)
    if not all(_sound(marks, judge.criteria) for side in sides for marks in side):
        return JudgedAnswers(**named, **took, unscored="no mark in [0, 1] for every criterion")
    before, after = ({name: (one[name] + two[name]) / 2 for name in judge.criteria} for one, two in sides)
    return JudgedAnswers(
        **named, **took, before=before, after=after, turned=_turned(straight, swapped), reason=straight.reason
    )


def _sound(marks: Mapping[str, float], criteria: Iterable[str]) -> bool:
    return all(0 <= marks.get(name, math.nan) <= 1 for name in criteria)


def _turned(straight: Marks, swapped: Marks) -> bool:
    """Whether one order prefers either answer and the other order the other."""
    gains = [math.fsum(after.values()) - math.fsum(before.values()) for before, after in _sides(straight, swapped)]
    return gains[0] * gains[1] < 0


def _sides(straight: Marks, swapped: Marks) -> list[tuple[Mapping[str, float], Mapping[str, float]]]:
    return [(straight.a, straight.b), (swapped.b, swapped.a)]


def _cases(run: Run) -> list[Case]:
    split, (first, *later) = run.settings.evaluate.splits[0], compared(run.settings)
    texts = {
        model: {answer.example_id: answer.text for answer in run.read(predictions_of(model), Prediction)}
        for model in (first, *later)
    }
    return [
        Case(judge, example, model, first, texts[model][example.example_id], texts[first][example.example_id])
        for judge in run.settings.evaluate.judges
        for model in later
        for example in evaluated_examples(run)
        if example.split == split
    ]


def _seats(run: Run, chat: Chat) -> dict[str, _Seat]:
    """Every judge of the recipe, by its name there."""
    seats = {}
    for name in run.settings.evaluate.judges:
        kind, endpoint = speaker("answer-judge", name, "evaluate.judges")
        seats[name] = _Seat(kind(), chat.lines[endpoint])
    return seats


def _requests(run: Run, seats: Mapping[str, _Seat], case: Case) -> list[ChatRequest]:
    """Both orders; that of the first model's answer as A comes first."""
    judge, line = seats[case.judge]
    images = chat_images(case.example, run.image_root) if line.settings.images else ()
    orders = ((case.before, case.after), (case.after, case.before))
    return [judge.request(case.example, a, b, images) for a, b in orders]


async def _check_estimate(run: Run, cases: Sequence[Case]) -> None:
    async with open_chat(run, run.settings.used_endpoints(STAGE), sends=False) as chat:
        estimates, seats = [], _seats(run, chat)
        for name, (_, line) in seats.items():
            asked = [item for case in cases if case.judge == name for item in _requests(run, seats, case)]
            # Two answers alike are one call in both orders.
            calls = {line.key(request): request for request in asked}
            ahead = [Ahead(item, 1, most_calls(run.settings.chat.retries)) for item in calls.values()]
            open_calls = [item for item in ahead if not line.is_cached(item.request)]
            estimates.append(estimate(line, open_calls, growth(line), len(ahead) - len(open_calls)))
        chat.check_estimate(estimates)
