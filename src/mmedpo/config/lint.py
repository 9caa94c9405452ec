"""Settings of the linter."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from mmedpo.config.groups import Settings


class LintSettings(Settings):
    """From where on something counts as a fault."""

    shortcut_accuracy: float = Field(0.7, gt=0.5, le=1)
    """A judge that never sees the image and is right more often than this has found a shortcut."""
    folds: int = Field(5, ge=2, le=1000)
    """Folds of the bag-of-words judge; rows of one image stay in one fold."""
    ridge: float = Field(1e-3, gt=0, le=1e6)
    """L2 penalty of the bag-of-words judge, per row."""
    bound_share: float = Field(0.5, gt=0, le=1)
    """More than this share of the weights on one value at the edge of their range have collapsed."""
    smallest_noised: float = Field(0.001, ge=0, le=1)
    """Below this share of changed pixels the rejected image hardly differs from the clean one."""
    largest_noised: float = Field(0.6, ge=0, le=1)
    """Above this share the noise is nearly everywhere, not in a lesion."""
    max_length: int = Field(1024, ge=1, le=10_000_000)
    """Tokens a pair may have (prompt with image tokens, and the longer answer)."""
    image_tokens: int = Field(576, ge=1, le=1_000_000)
    """Tokens one image takes in the sequence (LLaVA: 24 x 24)."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.smallest_noised >= self.largest_noised:
            raise ValueError(
                f"smallest_noised ({self.smallest_noised}) must be below largest_noised ({self.largest_noised})"
            )
        return self
