"""Answer files of LLaVA and LLaVA-Med, which MMedPO's inference script writes too.

One JSON object a line: `question_id, prompt, text, answer_id, model_id, metadata`. The prompt is the question with
what the script put around it; where the ids are those of a question file of the user's (`question_id, image, text`),
`questions` names that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mmedpo.evaluate.given import GivenAnswer, answer_of, told
from mmedpo.registry import register


@register("answer-format", "llava-med")
class LlavaMedAnswers:
    """Some copies of the script repeat image and truth."""

    columns: ClassVar[frozenset[str]] = frozenset({"question_id", "prompt", "text"})

    def parse(self, row: Mapping[str, Any]) -> GivenAnswer:
        """`text` is the answer here, and the question in a question file."""
        return GivenAnswer(
            answer_of(row, "text"),
            id=told(row, "question_id"),
            question=told(row, "prompt"),
            image=told(row, "image"),
            truth=told(row, "gt_ans", "ground_truth"),
        )
