"""Who decides which answer is the dispreferred one (METHOD section 1, D_t)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest
from mmedpo.records import Candidate, Example, Verdict


@runtime_checkable
class Judge(Protocol):
    """Anything that settles one question from its candidates: rules at once, a language model later.

    Registered as a class without constructor arguments, `@register("judge", NAME)`. One with a method
    `prepare(examples) -> Judge` is shown the training examples first.
    """

    @property
    def name(self) -> str:
        """Recorded in the verdicts."""
        ...

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict | Awaitable[Verdict]:
        """Picks the candidate that conflicts most clearly, writes one, or drops the question."""
        ...


class JudgeByAsking(Judge, Protocol):
    """A judge that asks a language model; `AskedJudge` has all of it but the asking itself.

    `NAME:ENDPOINT` in `curate.judge`; the declaration `asks = True` is what makes it one. The registered class is made
    with `(line, image_root, retries, name)`: see `AskedJudge`. A classmethod `unfit(endpoint, settings) -> str` may say
    why it cannot work with an endpoint; it is asked before anything is sampled.
    """

    asks: ClassVar[bool]
    """True."""

    @property
    def line(self) -> Line:
        """What it speaks through."""
        ...

    @property
    def most_calls(self) -> int:
        """The most calls one question to the model can take."""
        ...

    @property
    def growth(self) -> int:
        """Tokens by which a further turn can lengthen what the model reads."""
        ...

    def first_requests(self, example: Example, candidates: Sequence[Candidate]) -> Sequence[ChatRequest]:
        """The calls a question begins with: what an estimate is made from."""
        ...
