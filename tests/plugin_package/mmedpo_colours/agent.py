"""A debating agent that is a rule: the longer the wrong answer, the worse."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.records import Turn
from mmedpo.registry import register
from mmedpo.score.debate import Case, Opinion, agree, rescore


@register("agent", "by-length")
class ByLength:
    """Never changes its mind about others: it agrees."""

    name = "by-length"

    def first(self, case: Case) -> Opinion:
        """See `Agent`."""
        return rescore(min(1.0, len(case.rejected) / 10), "longer is worse")

    def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
        """See `Agent`."""
        return agree("as said")
