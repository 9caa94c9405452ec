"""A layout of answer files: one row an answer, under a name of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.evaluate.given import GivenAnswer, answer_of, told
from mmedpo.registry import register


@register("answer-format", "said")
class Said:
    """`{who, said}`."""

    columns: ClassVar[frozenset[str]] = frozenset({"who", "said"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """`who` is the id of the question."""
        return GivenAnswer(answer_of(row, "said"), id=told(row, "who"))
