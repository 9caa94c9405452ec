"""Settings of the dataset."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mmedpo.config.groups import Settings, UserPath, refuse_set


class PhantomSettings(Settings):
    """The embedded dataset of generated radiographs."""

    train_images: int = Field(240, ge=2)
    """Images the preference pairs are made from, drawn with the training priors."""
    validation_images: int = Field(60, ge=2)
    """Images for choosing learning rate and stopping, balanced against the priors."""
    test_images: int = Field(120, ge=2)
    """Images of each of the two test splits: with the training priors, and balanced against them."""
    size: int = Field(128, ge=96)
    """Height and width, pixels."""
    seed: int = 0
    """Seed of the dataset: the same data for every run seed, as with a real dataset."""


class DataSettings(Settings):
    """Which dataset, and how it is split."""

    dataset: str = "phantom"
    """Registered name."""
    root: UserPath | None = None
    """Folder as downloaded; None for a dataset that is generated."""
    split: Literal["image-disjoint", "official"] = "image-disjoint"
    """`image-disjoint`: no image or patient in two splits. `official`: as published, leaks reported."""
    split_seed: int = 0
    """Seed of the image-disjoint split."""
    max_train_examples: int | None = Field(None, ge=1)
    """Use at most this many training questions (whole images, drawn with the run's seed); None: all."""
    phantom: PhantomSettings = PhantomSettings()
    """Settings of the generated dataset."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.dataset == "phantom":
            refuse_set(self, {"root", "split", "split_seed"}, "data", "the phantom dataset is generated and split")
        else:
            refuse_set(self, {"phantom"}, "data", f"the dataset is {self.dataset!r}")
            if self.root is None:
                raise ValueError(f"data.root is needed for dataset {self.dataset!r}: the folder as downloaded")
        return self
