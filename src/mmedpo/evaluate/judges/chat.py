"""Factuality and clinical relevance of answers, by a language model (MMedPO, section 4.4.1)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from mmedpo.chat.model import ChatImage, ChatRequest
from mmedpo.chat.prompts import read_prompt
from mmedpo.chat.structured import ReplyForm, schema_of
from mmedpo.evaluate.judges.judge import Marks
from mmedpo.records import Example
from mmedpo.registry import register

SCALE = 10
"""Best mark; the worst is 0."""
Mark = Annotated[int, Field(ge=0, le=SCALE)]


class TwoAnswers(ReplyForm):
    """Reply of the judge."""

    reason: str
    factuality_a: Mark
    relevance_a: Mark
    factuality_b: Mark
    relevance_b: Mark


@register("answer-judge", "chat")
class ChatAnswerJudge:
    """`evaluate.judges: [chat:NAME]`."""

    asks: ClassVar[bool] = True
    criteria: ClassVar[tuple[str, ...]] = ("factuality", "clinical relevance")
    form: ClassVar[type[ReplyForm]] = TwoAnswers

    def request(self, example: Example, a: str, b: str, images: tuple[ChatImage, ...]) -> ChatRequest:
        """Question, truth and both answers, all fenced as data."""
        prompt = read_prompt("mmedpo.evaluate", "answers")
        data = {"question": example.question, "truth": example.answer, "answer_a": a, "answer_b": b}
        return ChatRequest(prompt.fill(data, images=len(images)), prompt.label, images, schema_of(TwoAnswers))

    def marks(self, reply: TwoAnswers) -> Marks:
        """Tenths."""
        a = dict(zip(self.criteria, (reply.factuality_a / SCALE, reply.relevance_a / SCALE), strict=True))
        b = dict(zip(self.criteria, (reply.factuality_b / SCALE, reply.relevance_b / SCALE), strict=True))
        return Marks(a, b, reply.reason)
