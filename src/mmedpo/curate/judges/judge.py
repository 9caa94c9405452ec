"""Who decides which answer is the dispreferred one (METHOD section 1, D_t)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol, runtime_checkable

from mmedpo.records import Candidate, Example, Verdict


@runtime_checkable
class Judge(Protocol):
    """Anything that settles one question from its candidates: rules at once, a language model later."""

    @property
    def name(self) -> str:
        """Recorded in the verdicts."""
        ...

    def judge(self, example: Example, candidates: Sequence[Candidate], seed: int) -> Verdict | Awaitable[Verdict]:
        """Picks the candidate that conflicts most clearly, writes one, or drops the question."""
        ...
