"""`results.json` of MedEvalKit: the dataset's rows without their images, with `response`.

Nothing names the question but its text and its truth; rows of several chunks lie in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.evaluate.given import GivenAnswer, answer_of, told
from mmedpo.registry import register


@register("answer-format", "medevalkit")
class MedEvalKitResults:
    """Rows of its VQA-RAD and SLAKE; other sets may keep an id or the image's name."""

    columns: ClassVar[frozenset[str]] = frozenset({"question", "answer", "response"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """`answer` is the truth."""
        return GivenAnswer(
            answer_of(row, "response"),
            id=told(row, "qid"),
            question=told(row, "question"),
            image=told(row, "img_name"),
            truth=told(row, "answer"),
        )
