"""A branch: one answer to one question on one or more image views, as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmedpo.errors import TrainingError
from mmedpo.models.vlm import VisionLanguageModel


@dataclass(frozen=True)
class Branch:
    """What one log-probability is asked of; equal branches are computed once."""

    views: tuple[Path, ...]
    """Image files shown, in the order of their placeholders."""
    prompt: tuple[int, ...]
    """Token ids up to the answer, image placeholders expanded."""
    response: tuple[int, ...]
    """Token ids of the answer, end-of-sequence included."""


def build_branch(
    vlm: VisionLanguageModel, view: Path, question: str, answer: str, *, max_length: int, owner: str
) -> Branch:
    """Tokenises one answer to one question on one image.

    Raises:
        TrainingError: longer than `max_length` or the model's context. Nothing is ever truncated:
            a cut image token or a cut answer would train on something else than it says.
    """
    prompt, response = vlm.prompt_ids(question), vlm.answer_ids(answer)
    length, limit = len(prompt) + len(response), min(max_length, vlm.context_length)
    if length > limit:
        raise TrainingError(
            f"{owner}: {length} tokens ({len(prompt)} prompt with {vlm.image_tokens} image, {len(response)} answer) "
            f"exceed the limit of {limit}; raise train.max_length (context: {vlm.context_length}) or drop the example"
        )
    return Branch((view,), tuple(prompt), tuple(response))
