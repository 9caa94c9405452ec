"""A debating Med-LLM: one language model with the panel's two prompts (METHOD section 2).

The paper published its prompt as a picture only; the wording here is ours. The model gives 0..10, which
is mapped to [0, 1]. A reply that cannot be read after one repair, a refusal, or a call that fails after
all its attempts is an abstention for that turn: never a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest
from mmedpo.chat.prompts import Prompt, read_prompt
from mmedpo.chat.structured import Exchange, Objection, ReplyForm, ask_form, schema_of
from mmedpo.records import Turn
from mmedpo.registry import register
from mmedpo.score.debate import Case, Opinion, abstain, agree, rescore

SCALE = 10
"""Best score of the prompts; divided away."""
LONGEST_REASON = 400
"""Characters of a reason that the others get to read."""
REFUSALS = 1
"""Turns after a refusal."""


class FirstScore(ReplyForm):
    """Reply of the agent that scores first."""

    reason: str
    score: int = Field(ge=0, le=SCALE)


class Response(ReplyForm):
    """Reply of an agent that hears a standing score."""

    reason: str
    agree: bool
    score: int = Field(ge=0, le=SCALE)


@register("agent", "chat")
class ChatAgent:
    """Speaks through one endpoint; `chat:NAME` in `score.agents`."""

    asks: ClassVar[bool] = True

    def __init__(self, line: Line) -> None:
        self.line = line
        self.name = f"chat:{line.name}"
        self._first = read_prompt("mmedpo.score", "debate_first")
        self._respond = read_prompt("mmedpo.score", "debate_respond")

    def first_request(self, case: Case) -> ChatRequest:
        """The call of a first score."""
        return _request(self._first, _texts(case), {}, FirstScore)

    async def first(self, case: Case) -> Opinion:
        """Scores a case on which no score stands yet."""
        said = await ask_form(self.line, self.first_request(case), FirstScore, REFUSALS)
        if said.value is None:
            return _spent(abstain(said.reason, said.raw), said)
        return _spent(rescore(said.value.score / SCALE, said.value.reason, said.raw), said)

    async def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
        """Agrees with the standing score or gives another."""
        standing = next(turn.score for turn in reversed(history) if turn.score is not None)
        data = {**_texts(case), "history": transcript(history)}
        request = _request(self._respond, data, {"standing": _points(standing)}, Response)
        said = await ask_form(
            self.line, request, Response, REFUSALS, lambda reply: _contradicts_itself(reply, standing)
        )
        if said.value is None:
            return _spent(abstain(said.reason, said.raw), said)
        if said.value.agree:
            return _spent(agree(said.value.reason, said.raw), said)
        return _spent(rescore(said.value.score / SCALE, said.value.reason, said.raw), said)


def transcript(history: Sequence[Turn]) -> str:
    """What was said, one line a turn; abstentions are left out, for they say nothing about the case."""
    return "\n".join(
        f"{turn.agent}, round {turn.round}: {_points(turn.score)} of {SCALE}"
        f"{' (agrees)' if turn.agreed else ''}. {' '.join(turn.reason.split())[:LONGEST_REASON]}"
        for turn in history
        if turn.score is not None
    )


def _contradicts_itself(reply: Response, standing: float) -> Objection | None:
    """Agreeing while giving another score: which of the two is meant cannot be known."""
    if reply.agree and abs(reply.score - standing * SCALE) > 0.5 + 1e-9:
        return Objection(
            "agrees-with-another-score",
            f"You agree with {_points(standing)} and give {reply.score}: set agree to false, or give that score.",
        )
    return None


def _points(score: float) -> str:
    return f"{score * SCALE:g}"


def _texts(case: Case) -> dict[str, str]:
    return {"question": case.question, "truth": case.truth, "rejected": case.rejected}


def _request(prompt: Prompt, data: dict[str, str], plain: dict[str, str], form: type[ReplyForm]) -> ChatRequest:
    return ChatRequest(prompt.fill(data, plain), prompt.label, schema=schema_of(form))


def _spent(opinion: Opinion, said: Exchange[FirstScore] | Exchange[Response]) -> Opinion:
    return replace(
        opinion,
        model=said.model,
        calls=said.calls,
        input_tokens=said.input_tokens,
        output_tokens=said.output_tokens,
    )
