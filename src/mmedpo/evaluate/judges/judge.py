"""What a judge of answers is: it is shown two answers to one question, as A and B, and gives marks to both.

Which model gave which is not told to it, and every two answers are shown to it twice, in both orders
(`mmedpo.evaluate.judging`), so that neither a name nor a place can win.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mmedpo.chat.model import ChatImage, ChatRequest
from mmedpo.chat.structured import Objection, ReplyForm
from mmedpo.records import Example
from mmedpo.registry import optional


@dataclass(frozen=True)
class Marks:
    """What one reply gives two answers."""

    a: Mapping[str, float]
    """Criterion -> mark of answer A in [0, 1], 1 is best."""
    b: Mapping[str, float]
    """The same for answer B."""
    reason: str = ""
    """In the words of the judge."""


class AnswerJudge(Protocol):
    """Registered with `@register("answer-judge", NAME)`: a class without constructor arguments, `NAME:ENDPOINT` in
    `evaluate.judges`."""

    asks: ClassVar[bool]
    """True: it asks a language model."""
    criteria: ClassVar[Sequence[str]]
    """What it gives marks for, in words, e.g. `factuality`; each becomes a row of the tables."""
    form: ClassVar[type[ReplyForm]]
    """What a reply must look like."""

    def request(self, example: Example, a: str, b: str, images: tuple[ChatImage, ...]) -> ChatRequest:
        """The call that asks for the marks of two answers.

        Args:
            example: the question and its truth.
            a: the answer that is shown first.
            b: the other one.
            images: those of the question where the endpoint is shown images, else none.
        """
        ...

    def marks(self, reply: Any) -> Marks:
        """What a reply of the form says. A mark outside [0, 1], or one that is missing, leaves the two unscored."""
        ...

    @optional
    def check(self, reply: Any) -> Objection | None:
        """Why a reply is not taken and asked for again; None when it may stand."""
        ...
