"""Settings of evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mmedpo.config.groups import Named, Settings
from mmedpo.records import AnswerType


class EvaluateSettings(Settings):
    """Generation, protocol and statistics."""

    splits: tuple[str, ...] = Field(("test-balanced", "test"), min_length=1)
    """Splits that are scored; the first is the headline."""
    protocol: Annotated[str, Named("protocol")] = "strict"
    """Registered scoring protocol of the headline; every table names it."""
    max_new_tokens: int = Field(96, ge=1)
    """Length limit of an answer."""
    batch_size: int = Field(96, ge=1)
    """Questions decoded at once."""
    answer_types: tuple[AnswerType, ...] = Field(("closed", "open", "report"), min_length=1)
    """Which questions are asked."""
    bootstrap_samples: int = Field(10_000, ge=100)
    """Resamples of the paired bootstrap over images."""
    reliance_images: int = Field(80, ge=0)
    """Images for the lesion-reliance probe (needs annotated lesions); 0 leaves it out."""
