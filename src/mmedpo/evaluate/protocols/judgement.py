"""What a protocol is, and what it says of one answer."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field

from mmedpo.records import Example


@dataclass(frozen=True)
class Judgement:
    """What a protocol says of one answer."""

    values: dict[str, float] = field(default_factory=dict)
    """Metric -> value; empty when the answer cannot be scored."""
    note: str = ""
    """Why a closed answer got no credit: `both-alternatives`, `other-alternative` or `no-alternative`."""
    unscored: str = ""
    """Why there is no value at all; empty when there is one."""


class AnswerProtocol(typing.Protocol):
    """What `lookup("protocol", name)` gives: a class without arguments."""

    def score(self, example: Example, text: str) -> Judgement:
        """Scores the answer `text` to `example`; never raises for what a model may say."""
        ...
