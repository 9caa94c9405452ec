"""Settings of preference fine-tuning."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mmedpo.config.groups import Settings, refuse_set


class LoraSettings(Settings):
    """The adapter on every linear layer of the language model."""

    rank: int = Field(128, ge=1)
    """r (paper: 128)."""
    alpha: int = Field(256, ge=1)
    """Scale (paper: 256)."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout inside the adapter."""


class WatchSettings(Settings):
    """What is watched while training, and when to stop."""

    every: int = Field(20, ge=1)
    """Optimizer steps between two looks at the validation probe."""
    questions: int = Field(240, ge=1)
    """Validation questions answered by greedy decoding at each look (reports excluded)."""
    collapse_drop: float = Field(0.5, gt=0, le=1)
    """Stop when the probe's score falls below this share of its value at the start."""
    collapse_logprob: float = Field(3.0, gt=0)
    """Stop when log pi(y_w) per token fell by more than this since the start, nats."""
    keep: Literal["best", "last"] = "best"
    """Which adapter is the result: the best on the validation probe, or the last."""


class TrainSettings(Settings):
    """Clinical-aware preference fine-tuning (Eq. 3)."""

    method: Literal["preference", "sft"] = "preference"
    """Weighted DPO on the pairs, or supervised fine-tuning on the chosen answers (same examples)."""
    beta: float = Field(0.1, gt=0)
    """Temperature of the implicit reward (the paper writes alpha)."""
    learning_rate: float = Field(1e-7, gt=0)
    """Peak (paper: 1e-7 for 7B with LoRA)."""
    epochs: float = Field(3.0, gt=0)
    """Passes over the pairs."""
    batch_examples: int = Field(4, ge=1)
    """Questions per optimizer step and process; each brings all its pairs."""
    gradient_accumulation: int = Field(1, ge=1)
    """Forward passes per optimizer step."""
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """Learning-rate schedule."""
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    """Share of the steps that warm up."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Clip of the gradient's norm."""
    max_length: int = Field(1024, ge=1)
    """Longest sequence, tokens; a longer pair is refused, image tokens are never cut."""
    checkpoint_every: int = Field(50, ge=1)
    """Optimizer steps between checkpoints; a killed run resumes from the last one."""
    lora: LoraSettings = LoraSettings()
    """The adapter."""
    watch: WatchSettings = WatchSettings()
    """Validation probe and collapse."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.method == "sft":
            refuse_set(self, {"beta"}, "train", "train.method is 'sft'")
        return self
