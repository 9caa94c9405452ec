"""Our own predictions: `example_id, text`, as `predictions/<model>.parquet` of a run holds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.evaluate.given import GivenAnswer, answer_of, told
from mmedpo.registry import register


@register("answer-format", "mmedpo")
class OwnAnswers:
    """Parquet, or the same columns as JSON, JSON Lines or CSV."""

    columns: ClassVar[frozenset[str]] = frozenset({"example_id", "text"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """The id is the run's own."""
        return GivenAnswer(answer_of(row, "text"), id=told(row, "example_id"))
