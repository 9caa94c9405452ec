"""Settings of the engine: how log-probabilities are computed, in training and evaluation alike."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.config.groups import Settings

FeaturePlace = Literal["auto", "memory", "disk", "recompute"]
"""Where image features are kept while the encoder is frozen."""
Packing = Literal["checked", "strict", "off"]
"""Prefix sharing; see `EngineSettings.packing`."""


class EngineSettings(Settings):
    """Speed and memory. None of these changes a result by more than rounding, so none makes a stage run again."""

    max_tokens: int = Field(4096, ge=1, le=100_000_000)
    """Most tokens of one forward pass, after sharing; a larger batch is computed in several, one image after the
    other. Fewer take less memory and, below what the questions on one image need, more time."""
    kept_tokens: int = Field(16_384, ge=1, le=100_000_000)
    """Most tokens whose keys and values are kept while answers are decoded: prompts after sharing, and answers at
    their longest. More answers go on together where more are kept, which is faster."""
    packing: Packing = "checked"
    """`checked`: prefixes are shared if log-probs and gradients agree with plain sequences at the start, else
    plain sequences are computed; `strict`: a difference stops the run; `off`: plain sequences."""
    features: FeaturePlace = "auto"
    """Where training keeps frozen image features; `auto` measures. Other stages compute them for the questions at
    hand and keep none."""
