"""A judge that asks a language model for a wrong answer; nothing of mmedpo's own judges is inherited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest, text_message
from mmedpo.chat.structured import ReplyForm, ask_form, schema_of
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register


class WrongAnswer(ReplyForm):
    """Reply of the model."""

    wrong: str


@register("judge", "liar")
class Liar:
    """`curate.judge: liar:ENDPOINT`."""

    asks: ClassVar[bool] = True

    def __init__(self, line: Line, image_root: Path, retries: int, name: str) -> None:
        self.line = line
        self.name = name
        self.most_calls = 2
        self.growth = 50

    def first_requests(self, example: Example, candidates: Sequence[Candidate]) -> Sequence[ChatRequest]:
        """One call a question."""
        said = text_message("user", f"Give a wrong answer. {example.question} Right is: {example.answer}")
        return [ChatRequest((said,), "liar@1", schema=schema_of(WrongAnswer))]

    async def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """What the model says, or a drop."""
        (request,) = self.first_requests(example, candidates)
        said = await ask_form(self.line, request, WrongAnswer, 0)
        told = {"example_id": example.example_id, "judge": self.name, "model": said.model, "calls": said.calls}
        if said.value is None:
            return Verdict.model_validate({**told, "outcome": "dropped", "rejected": "", "reason": "liar-silent"})
        return Verdict.model_validate({**told, "outcome": "injected", "rejected": said.value.wrong, "raw": said.raw})
