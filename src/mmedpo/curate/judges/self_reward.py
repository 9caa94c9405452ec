"""Self-Rewarding (Yuan 2024; METHOD section 4): a model scores its own answers, the best against the worst."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from mmedpo.chat.model import ChatRequest
from mmedpo.chat.prompts import read_prompt
from mmedpo.chat.structured import Exchange, ReplyForm, ask_form, schema_of
from mmedpo.config import EndpointSettings
from mmedpo.curate.judges.asking import AskedJudge, countable
from mmedpo.curate.validators import validate_answer
from mmedpo.errors import ConfigError
from mmedpo.records import Candidate, Example, Verdict
from mmedpo.registry import register

JUDGEMENTS = 3
"""Judgements of one answer, averaged."""


class Rating(ReplyForm):
    """Reply of one judgement: additive, 0 to 5."""

    reason: str
    score: int = Field(ge=0, le=5)


@register("judge", "self-reward")
@dataclass(frozen=True)
class SelfReward(AskedJudge):
    """`curate.judge: self-reward:NAME`; the endpoint serves the model that is tuned. Both sides are its own answers."""

    needs_truth: ClassVar[bool] = False
    """The question may be the model's own."""

    def __post_init__(self) -> None:
        reason = self.unfit(self.line.name, self.line.settings)
        if reason:
            raise ConfigError(reason)

    @classmethod
    def unfit(cls, endpoint: str, settings: EndpointSettings) -> str:
        """See `AskedJudge`."""
        if settings.temperature > 0:
            return ""
        return (
            f"self-reward averages {JUDGEMENTS} judgements, which are all the same at temperature 0; "
            f"set chat.endpoints.{endpoint}.temperature, e.g. to 0.7"
        )

    def first_requests(self, example: Example, candidates: Sequence[Candidate]) -> list[ChatRequest]:
        """Every judgement of every answer."""
        usable = [item for item in candidates if validate_answer(example, item) is None]
        return [self._request(example, item, sample) for item in usable for sample in range(JUDGEMENTS)]

    async def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Best against worst by mean score; a tie, or fewer than two scored answers, gives no pair."""
        usable = [item for item in candidates if validate_answer(example, item) is None]
        rated = await asyncio.gather(*(self._rate(example, item) for item in usable))
        said = [exchange for exchanges in rated for exchange in exchanges]
        means = {}
        for item, exchanges in zip(usable, rated, strict=True):
            scores = [exchange.value.score for exchange in exchanges if exchange.value is not None]
            if scores:
                means[item.index] = sum(scores) / len(scores)
        if len(means) < 2:
            failed = next((exchange.reason for exchange in said if exchange.value is None), "")
            return self.dropped(example, countable(failed) if failed else "fewer-than-two-answers", said)
        scored = [item for item in usable if item.index in means]
        best = max(scored, key=lambda item: (means[item.index], -item.index))
        worst = min(scored, key=lambda item: (means[item.index], item.index))
        if means[best.index] == means[worst.index]:
            return self.dropped(example, "tie", said)
        told = f"scored {means[worst.index]:.2f} of 5, the best answer {means[best.index]:.2f}"
        return self.preferred(example, said, best, worst, told)

    async def _rate(self, example: Example, candidate: Candidate) -> list[Exchange[Rating]]:
        requests = [self._request(example, candidate, sample) for sample in range(JUDGEMENTS)]
        return await asyncio.gather(*(ask_form(self.line, item, Rating, self.retries) for item in requests))

    def _request(self, example: Example, candidate: Candidate, sample: int) -> ChatRequest:
        prompt = read_prompt("mmedpo.curate", "self_reward")
        images = self.images(example)
        messages = prompt.fill({"question": example.question, "answer": candidate.text}, images=len(images))
        return ChatRequest(messages, prompt.label, images, schema_of(Rating), sample)
