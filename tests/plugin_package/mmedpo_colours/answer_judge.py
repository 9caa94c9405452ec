"""A judge of answers that asks how long each looks; nothing of mmedpo's own judges is inherited."""

from __future__ import annotations

from typing import ClassVar

from mmedpo.chat.model import ChatImage, ChatRequest, text_message
from mmedpo.chat.structured import ReplyForm
from mmedpo.evaluate.judges import Marks
from mmedpo.records import Example
from mmedpo.registry import register


class Brevity(ReplyForm):
    """Reply of the model."""

    a: float
    b: float


@register("answer-judge", "brevity")
class BrevityJudge:
    """`brevity:ENDPOINT` in `evaluate.judges`."""

    asks: ClassVar[bool] = True
    criteria: ClassVar[tuple[str, ...]] = ("brevity",)
    form: ClassVar[type[ReplyForm]] = Brevity

    def request(self, example: Example, a: str, b: str, images: tuple[ChatImage, ...]) -> ChatRequest:
        """One call for both."""
        return ChatRequest((text_message("user", f"Which is brief? {a!r} {b!r}"),), "brevity@1")

    def marks(self, reply: Brevity) -> Marks:
        """As they are."""
        return Marks({"brevity": reply.a}, {"brevity": reply.b})
