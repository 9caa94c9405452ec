"""A scoring protocol: only the first word counts."""

from __future__ import annotations

from mmedpo.evaluate.protocols import Judgement
from mmedpo.records import Example
from mmedpo.registry import register


@register("protocol", "first-word")
class FirstWord:
    """Right when the first words agree, whatever follows."""

    def score(self, example: Example, text: str) -> Judgement:
        """See `AnswerProtocol`."""
        metric = "closed_accuracy" if example.answer_type == "closed" else "open_recall"
        return Judgement({metric: float(example.answer.split()[:1] == text.split()[:1])})
