"""A debating agent that asks a language model; nothing of mmedpo's own agents is inherited."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest, text_message
from mmedpo.chat.structured import ReplyForm, ask_form, schema_of
from mmedpo.records import Turn
from mmedpo.registry import register
from mmedpo.score.debate import Case, Opinion, abstain, rescore


class Percent(ReplyForm):
    """Reply of the model."""

    percent: int = Field(ge=0, le=100)


@register("agent", "percent")
class PercentAgent:
    """`percent:ENDPOINT` in `score.agents`."""

    asks: ClassVar[bool] = True

    def __init__(self, line: Line) -> None:
        self.line = line
        self.name = f"percent:{line.name}"

    def first_request(self, case: Case) -> ChatRequest:
        """One call a case, whatever was said before."""
        text = f"How bad, in percent, is {case.rejected!r} for {case.truth!r}?"
        return ChatRequest((text_message("user", text),), "percent@1", schema=schema_of(Percent))

    async def first(self, case: Case) -> Opinion:
        """See `Agent`."""
        said = await ask_form(self.line, self.first_request(case), Percent, 0)
        return abstain(said.reason) if said.value is None else rescore(said.value.percent / 100)

    async def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
        """See `Agent`."""
        return await self.first(case)
