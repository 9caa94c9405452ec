"""`preference`: a language model that sees the image prefers one of two answers, told no truth (STLLaVA-Med)."""

from __future__ import annotations

from typing import ClassVar

from mmedpo.chat.model import ChatRequest
from mmedpo.chat.prompts import read_prompt
from mmedpo.chat.structured import schema_of
from mmedpo.config import EndpointSettings
from mmedpo.curate.judges.critic import Choice, Critic
from mmedpo.records import Candidate, Example
from mmedpo.registry import register


@register("judge", "preference")
class Preference(Critic):
    """`curate.judge: preference:NAME`, an endpoint that is shown images. Both orders are asked, as of the critic."""

    needs_truth: ClassVar[bool] = False
    form = Choice

    @classmethod
    def unfit(cls, endpoint: str, settings: EndpointSettings) -> str:
        """See `AskedJudge`."""
        if settings.images:
            return ""
        return (
            "curate.judge=preference compares answers with the image, which this endpoint is not shown; "
            f"set chat.endpoints.{endpoint}.images=true"
        )

    def _request(self, example: Example, a: Candidate, b: Candidate) -> ChatRequest:
        prompt = read_prompt("mmedpo.curate", "preference")
        images = self.images(example)
        data = {"question": example.question, "answer_a": a.text, "answer_b": b.text}
        return ChatRequest(prompt.fill(data, images=len(images)), prompt.label, images, schema_of(Choice))
