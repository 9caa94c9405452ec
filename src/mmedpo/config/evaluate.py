"""Settings of evaluation."""

from __future__ import annotations

from pydantic import Field

from mmedpo.config.groups import Settings
from mmedpo.records import AnswerType, Protocol


class EvaluateSettings(Settings):
    """Generation, protocol and statistics."""

    splits: tuple[str, ...] = Field(("test-balanced", "test"), min_length=1)
    """Splits that are scored; the first is the headline."""
    protocol: Protocol = "strict"
    """Scoring protocol of the headline; every table names it."""
    max_new_tokens: int = Field(96, ge=1, le=100_000)
    """Length limit of an answer."""
    batch_size: int = Field(96, ge=1, le=100_000)
    """Questions decoded at once."""
    answer_types: tuple[AnswerType, ...] = Field(("closed", "open", "report"), min_length=1)
    """Which questions are asked."""
    bootstrap_samples: int = Field(10_000, ge=100, le=1_000_000)
    """Resamples of the paired bootstrap over images."""
    reliance_images: int = Field(80, ge=0, le=1_000_000)
    """Images for the lesion-reliance probe (needs annotated lesions); 0 leaves it out."""
