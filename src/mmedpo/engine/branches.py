"""A branch: one answer to one question on one or more image views, as token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from mmedpo.errors import TrainingError
from mmedpo.imaging.images import read_image
from mmedpo.models.family import ANY_SIZE, Size
from mmedpo.models.vlm import VisionLanguageModel

_ORIENTATION, _SIDEWAYS = 0x0112, 5
"""EXIF tag; from this value on a picture stands on its side."""


@dataclass(frozen=True)
class Branch:
    """What one log-probability is asked of; equal branches are computed once."""

    views: tuple[Path, ...]
    """Image files shown, in the order of their placeholders."""
    prompt: tuple[int, ...]
    """Token ids up to the answer, image placeholders expanded."""
    response: tuple[int, ...]
    """Token ids of the answer, end of turn included."""
    sizes: tuple[Size, ...] = ()
    """Of each view, where the number of its tokens depends on it; else empty."""

    @property
    def pictures(self) -> tuple[Size, ...]:
        """A size for each view, also where it does not matter."""
        return self.sizes or (ANY_SIZE,) * len(self.views)


def build_branch(
    vlm: VisionLanguageModel, views: Sequence[Path], question: str, answer: str, *, max_length: int, owner: str
) -> Branch:
    """Tokenises one answer to one question on one image or several.

    Raises:
        TrainingError: longer than `max_length` or the model's context. Nothing is ever truncated:
            a cut image token or a cut answer would train on something else than it says.
    """
    sizes = tuple(image_size(view) for view in views) if vlm.family.sized else ()
    shown = sizes or (ANY_SIZE,) * len(views)
    prompt, response = vlm.prompt_ids(question, shown), vlm.answer_ids(answer)
    length, limit = len(prompt) + len(response), min(max_length, vlm.context_length)
    if length > limit:
        image = sum(vlm.family.image_tokens(size) for size in shown)
        raise TrainingError(
            f"{owner}: {length} tokens ({len(prompt)} prompt with {image} image, {len(response)} answer) "
            f"exceed the limit of {limit}; raise train.max_length (context: {vlm.context_length}) or drop the example"
        )
    return Branch(tuple(views), tuple(prompt), tuple(response), sizes)


@lru_cache(maxsize=1 << 16)
def image_size(view: Path) -> Size:
    """Size of an image as `read_image` gives it, without decoding its pixels where the file's head says it."""
    try:
        with view.open("rb") as file, Image.open(file) as picture:
            sideways = picture.getexif().get(_ORIENTATION, 1) >= _SIDEWAYS
            width, height = picture.size
    except (UnidentifiedImageError, OSError):
        return Size(*read_image(view.parent, view.name).shape[:2])
    return Size(width, height) if sideways else Size(height, width)
