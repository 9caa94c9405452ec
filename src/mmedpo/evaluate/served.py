"""Greedy answers of a model that a server has loaded, to the questions of the evaluated splits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from mmedpo.chat.answering import Decoding, answer_of, check_estimate, open_server, question_request
from mmedpo.records import Example, Prediction
from mmedpo.run import ItemWork, Run

CHUNK = 100
"""Answers saved together."""


def ask_server(run: Run, endpoint: str, model: str, examples: Sequence[Example]) -> list[Prediction]:
    """One answer per question.

    Args:
        run: the run.
        endpoint: name of the server in `chat.endpoints`.
        model: the model of the run that it has loaded, e.g. `base`.
        examples: the questions.

    Raises:
        ChatError: a question got no answer; the others are kept.
    """
    decoding = Decoding(run.settings.evaluate.max_new_tokens)
    check_estimate(run, endpoint, decoding, [question_request(example, run.image_root) for example in examples])
    asking = partial(_asking, run, endpoint, model, decoding)
    return list(run.stream(f"answers of {model}", examples, CHUNK, asking, Prediction))


@asynccontextmanager
async def _asking(
    run: Run, endpoint: str, model: str, decoding: Decoding
) -> AsyncIterator[ItemWork[Example, Prediction]]:
    async with open_server(run, endpoint, decoding) as (chat, line):

        async def ask(example: Example) -> Prediction:
            answer = await answer_of(line, question_request(example, run.image_root), example.example_id)
            return Prediction(example_id=example.example_id, model=model, text=answer.text, finished=answer.finished)

        async with chat.items(ask) as work:
            yield work
