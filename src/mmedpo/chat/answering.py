"""The target model behind a server: its answers to questions on images, through the seam that judges use.

The server applies the chat template and reads the pictures itself; the question is sent as it is, its
images before it or where the text has places for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmedpo.chat.estimate import Ahead, estimate
from mmedpo.chat.line import Line
from mmedpo.chat.model import CallFailed, ChatImage, ChatRequest, Deferred
from mmedpo.chat.opening import Chat, open_chat
from mmedpo.chat.thoughts import answer_in
from mmedpo.errors import ChatError, shown
from mmedpo.imaging.images import read_image
from mmedpo.imaging.pictures import png_bytes
from mmedpo.records import Example, Message, Part, places_of
from mmedpo.run import Run, run_async

PROMPT = "question@1"
"""The question and nothing else."""


class Decoding(NamedTuple):
    """How the server is asked to decode."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0


class Answer(NamedTuple):
    """What came back."""

    text: str
    """Stripped; without what the model thought aloud."""
    finished: bool
    """False when its length limit, or a thought without end, cut it."""


@asynccontextmanager
async def open_server(
    run: Run, endpoint: str, decoding: Decoding, *, sends: bool = True
) -> AsyncIterator[tuple[Chat, Line]]:
    """Opens the server of a target model; it decodes as told here, whatever the endpoint says of judging.

    Raises:
        ConfigError, EgressError, ChatError: as `open_chat`.
    """
    settings = run.settings.chat.endpoints[endpoint].model_copy(update={**decoding._asdict(), "structured": "none"})
    async with open_chat(run, (endpoint,), sends=sends, instead={endpoint: settings}) as chat:
        yield chat, chat.lines[endpoint]


def check_estimate(run: Run, endpoint: str, decoding: Decoding, requests: Sequence[ChatRequest]) -> None:
    """Tells what the server will be asked, before it is.

    Raises:
        BudgetError: more than the limits of the run leave.
        Paused: only the estimate was asked for.
    """

    async def check() -> None:
        async with open_server(run, endpoint, decoding, sends=False) as (chat, line):
            ahead = [Ahead(request, 1, 1) for request in requests if not line.is_cached(request)]
            chat.check_estimate([estimate(line, ahead, 0, len(requests) - len(ahead))])

    run_async(check())


def question_request(example: Example, image_root: Path, sample: int = 0, seed: int | None = None) -> ChatRequest:
    """The call that asks a question.

    Args:
        example: the question and its images.
        image_root: folder the images' paths are relative to.
        sample: number of the draw.
        seed: of the draw; None where nothing is drawn.
    """
    parts = tuple(
        Part(type="image") if text is None else Part(type="text", text=text)
        for text in places_of(example.question, len(example.images))
    )
    turns = (Message(role="user", content=parts),)
    return ChatRequest(turns, PROMPT, chat_images(example, image_root), sample=sample, seed=seed)


async def answer_of(line: Line, request: ChatRequest, example_id: str) -> Answer:
    """The answer to one question.

    Raises:
        Deferred: written to a batch file instead.
        ChatError: no answer after all attempts; what has been answered is kept.
    """
    try:
        reply = await line.ask(request)
    except Deferred:
        raise
    except CallFailed as failure:
        raise ChatError(
            f"endpoint {line.name!r}, which serves the target model, gave no answer to {shown(example_id)} "
            f"({failure.reason}); what it has answered is kept: mend the server and run the same command again"
        ) from None
    if reply.finish == "refusal":
        return Answer(reply.text.strip(), True)
    try:
        return Answer(answer_in(reply.text).strip(), reply.finish != "length")
    except ValueError:
        return Answer("", False)


def chat_images(example: Example, image_root: Path) -> tuple[ChatImage, ...]:
    """The images of a question, in order; each is read when it is really sent."""
    return tuple(ChatImage(image.sha256, partial(_png, image_root, image.path)) for image in example.images)


def _png(root: Path, path: str, side: int) -> bytes:
    return png_bytes(read_image(root, path), longest_side=side)
