"""SIMA (Wang 2024; METHOD section 4): a critic that knows the truth picks the better of two answers, in both orders."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Literal

from mmedpo.chat.model import ChatRequest
from mmedpo.chat.prompts import read_prompt
from mmedpo.chat.structured import ReplyForm, ask_form, schema_of
from mmedpo.clinical.lexicon import words
from mmedpo.curate.judges.asking import AskedJudge, countable
from mmedpo.curate.validators import validate_answer
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register


class Comparison(ReplyForm):
    """Reply of the critic."""

    reason: str
    better: Literal["A", "B"]


class Choice(ReplyForm):
    """Reply of one that may be unable to tell."""

    reason: str
    better: Literal["A", "B", "neither"]


@register("judge", "critic")
class Critic(AskedJudge):
    """`curate.judge: critic:NAME`. Only a preference that does not depend on the order makes a pair."""

    form: ClassVar[type[Comparison] | type[Choice]] = Comparison
    """Of a reply."""

    def first_requests(self, example: Example, candidates: Sequence[Candidate]) -> list[ChatRequest]:
        """Both orders."""
        two = _compared(example, candidates)
        return [] if two is None else [self._request(example, *two), self._request(example, *reversed(two))]

    async def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """The winner over the loser of the first two usable answers that differ."""
        two = _compared(example, candidates)
        if two is None:
            return self.dropped(example, "fewer-than-two-answers")
        first, second = two
        requests = self.first_requests(example, candidates)
        said = await asyncio.gather(*(ask_form(self.line, item, self.form, self.retries) for item in requests))
        straight, swapped = (exchange.value for exchange in said)
        if straight is None or swapped is None:
            reason = next(exchange.reason for exchange in said if exchange.value is None)
            return self.dropped(example, countable(reason), said)
        if "neither" in (straight.better, swapped.better):
            return self.dropped(example, "neither-preferred", said)
        if straight.better == swapped.better:
            return self.dropped(example, "orders-disagree", said)
        winner, loser = (first, second) if straight.better == "A" else (second, first)
        return self.preferred(example, said, winner, loser, straight.reason)

    def _request(self, example: Example, a: Candidate, b: Candidate) -> ChatRequest:
        prompt = read_prompt("mmedpo.curate", "critic")
        images = self.images(example)
        data = {"question": example.question, "truth": example.answer, "answer_a": a.text, "answer_b": b.text}
        return ChatRequest(prompt.fill(data, images=len(images)), prompt.label, images, schema_of(Comparison))


def _compared(example: Example, candidates: Sequence[Candidate]) -> tuple[Candidate, Candidate] | None:
    usable = [
        item for item in sorted(candidates, key=lambda item: item.index) if validate_answer(example, item) is None
    ]
    other = next((item for item in usable[1:] if words(item.text) != words(usable[0].text)), None)
    return None if other is None else (usable[0], other)
