"""What the judges that are language models share: the image they are shown, and verdicts with their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mmedpo.chat.answering import chat_images
from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatImage, ChatRequest
from mmedpo.chat.structured import Exchange, growth, most_calls
from mmedpo.config import EndpointSettings
from mmedpo.curate.validators import validate_sides
from mmedpo.records import Candidate, Example, Verdict


@dataclass(frozen=True)
class AskedJudge(ABC):
    """A judge that speaks through an endpoint."""

    asks: ClassVar[bool] = True
    """See `JudgeByAsking`."""
    line: Line
    image_root: Path
    """Folder the examples' image paths are relative to."""
    retries: int
    """Times a reply that breaks the rules is asked for again."""
    name: str
    """As it stands in the recipe, and in the verdicts, e.g. `chat:gpt`."""

    @classmethod
    def unfit(cls, endpoint: str, settings: EndpointSettings) -> str:
        """Why this judge cannot work with an endpoint, and the fix; empty when it can. Asked before the sampling."""
        return ""

    @abstractmethod
    def first_requests(self, example: Example, candidates: Sequence[Candidate]) -> Sequence[ChatRequest]:
        """The calls a question begins with: what an estimate is made from."""

    @abstractmethod
    async def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict:
        """Settles one question; see `Judge`."""

    @property
    def most_calls(self) -> int:
        """The most calls one question to the model can take."""
        return most_calls(self.retries)

    @property
    def growth(self) -> int:
        """Tokens by which a further turn can lengthen what the model reads: its reply, and what it is told of it."""
        return growth(self.line)

    def images(self, example: Example) -> tuple[ChatImage, ...]:
        """The images of the question, where the endpoint is shown images."""
        return chat_images(example, self.image_root) if self.line.settings.images else ()

    def dropped(self, example: Example, reason: str, said: Sequence[Exchange[Any]] = ()) -> Verdict:
        """No pair, with the countable reason."""
        return self.verdict(example, said, outcome="dropped", rejected="", reason=reason)

    def preferred(
        self, example: Example, said: Sequence[Exchange[Any]], chosen: Candidate, rejected: Candidate, reason: str
    ) -> Verdict:
        """One sample over another; dropped where the two make no pair (the same polarity, one holds the other, ...)."""
        refused = validate_sides(example, chosen.text, rejected.text)
        if refused is not None:
            return self.dropped(example, refused.reason, said)
        return self.verdict(
            example,
            said,
            outcome="picked",
            chosen=chosen.text.strip(),
            rejected=rejected.text.strip(),
            candidate_index=rejected.index,
            reason=reason,
        )

    def verdict(self, example: Example, said: Sequence[Exchange[Any]], **fields: Any) -> Verdict:
        """A verdict with what was said and what it took."""
        return Verdict(
            **{
                "example_id": example.example_id,
                "judge": self.name,
                "error_type": example.error_type,
                "raw": "\n".join(exchange.raw for exchange in said if exchange.raw),
                "model": next((exchange.model for exchange in reversed(said) if exchange.model), ""),
                "calls": sum(exchange.calls for exchange in said),
                "input_tokens": sum(exchange.input_tokens for exchange in said),
                "output_tokens": sum(exchange.output_tokens for exchange in said),
                **fields,
            }
        )


def countable(reason: str) -> str:
    """The reason of a drop, short enough to be counted: `judge-refused`, `judge-same-polarity`, `judge-failed`."""
    return f"judge-{reason.partition(':')[0]}"
