"""Sampling a target model that a server has loaded: K answers per question, candidates for the rejected one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from mmedpo.chat.answering import Decoding, answer_of, check_estimate, open_server, question_request
from mmedpo.chat.model import ChatRequest
from mmedpo.records import Candidate, Example
from mmedpo.run import ItemWork, Run
from mmedpo.seeds import derive_seed

CHUNK = 100
"""Answers saved together."""
LARGEST_SEED = 2**31 - 1
"""What every server takes."""

Draw = tuple[Example, int]
"""A question, and the number of the answer to it."""


def ask_server(run: Run, examples: Sequence[Example]) -> list[Candidate]:
    """K answers to every question, each with a seed of its own (METHOD section 1, D_t).

    Raises:
        ChatError: a question got no answer; the others are kept.
    """
    settings = run.settings.curate
    draws = [(example, index) for example in examples for index in range(settings.candidates)]
    check_estimate(run, run.settings.model.server, _decoding(run), [_request(run, draw) for draw in draws])
    return list(run.stream("sampling answers", draws, CHUNK, partial(_asking, run), Candidate))


@asynccontextmanager
async def _asking(run: Run) -> AsyncIterator[ItemWork[Draw, Candidate]]:
    async with open_server(run, run.settings.model.server, _decoding(run)) as (chat, line):

        async def ask(draw: Draw) -> Candidate:
            example, index = draw
            answer = await answer_of(line, _request(run, draw), example.example_id)
            return Candidate(
                example_id=example.example_id,
                index=index,
                text=answer.text,
                seed=_seed(run, draw),
                temperature=run.settings.curate.temperature,
                finished=answer.finished,
            )

        async with chat.items(ask) as work:
            yield work


def _request(run: Run, draw: Draw) -> ChatRequest:
    example, index = draw
    drawn = run.settings.curate.temperature > 0
    return question_request(example, run.image_root, index, _seed(run, draw) if drawn else None)


def _seed(run: Run, draw: Draw) -> int:
    example, index = draw
    return derive_seed(run.settings.seed, "sample", example.example_id, index) % LARGEST_SEED


def _decoding(run: Run) -> Decoding:
    settings = run.settings.curate
    return Decoding(settings.max_new_tokens, settings.temperature, settings.top_p)
