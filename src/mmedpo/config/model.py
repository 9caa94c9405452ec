"""Settings of the target model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.config.groups import DEVICE, Settings


class ModelSettings(Settings):
    """The target Med-LVLM."""

    name: str = "tiny"
    """`tiny` (ships in the package) or a local checkpoint folder."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type the weights are loaded in."""
    quantise: Literal["none", "nf4"] = "none"
    """`nf4` holds the linear layers of the language model in 4 bits (QLoRA; extra `[qlora]`); adapters stay in full."""
    autocast: bool = False
    """Compute log-probabilities in bfloat16 where that is safe, whatever type the weights have."""
    server: str = ""
    """Name in `chat.endpoints` of a server that has this checkpoint loaded: it samples candidates and answers test
    questions in its place. Log-probabilities are always computed here, from `name`."""
    tuned_server: str = ""
    """The same of the tuned model, started after training; empty: its answers are made here."""
    device: str = Field("auto", pattern=DEVICE)
    """`auto`, `cpu`, `cuda` or `cuda:N`."""


class FinetuneSettings(Settings):
    """Supervised fine-tuning of the whole language side *before* curation; its result becomes the base."""

    epochs: int = Field(10, ge=1, le=100_000)
    """Passes over the training questions."""
    learning_rate: float = Field(5e-4, gt=0, le=10)
    """Peak, AdamW, cosine."""
    batch_images: int = Field(16, ge=1, le=100_000)
    """Images (with all their questions) per step."""
    questions: bool = False
    """Whether it learns to ask as well: the questions themselves, where it is told to ask one (STLLaVA-Med)."""
