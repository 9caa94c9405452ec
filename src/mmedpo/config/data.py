"""Settings of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from mmedpo.config.groups import InputPath, Named, Seed, Settings, refuse_set
from mmedpo.registry import suggestion


class DatasetSettings(Settings):
    """What the reader of every dataset is told."""

    split: str = ""
    """Name of the split scheme; empty for the dataset's default."""
    split_seed: Seed = 0
    """Seed of a drawn split."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of train, validation and test in a drawn split; they sum to 1."""
    min_usable: float = Field(0.5, ge=0, le=1)
    """Smallest share of the records that must be usable: less means the wrong folder, not a few bad files."""
    allow_burned_in: bool = False
    """Read DICOM files of restricted data that say text is burned into their pixels."""


class DataSettings(DatasetSettings):
    """Which dataset, and how it is split.

    What belongs to one dataset (`data.phantom.seed`, `data.slake.languages`) is a group beside these. Its settings
    stand where the dataset is read (`mmedpo.data.readers`), and are checked when a recipe is loaded.
    """

    model_config = ConfigDict(extra="allow")

    dataset: Annotated[str, Named("dataset")] = "phantom"
    """Registered name."""
    root: InputPath | None = None
    """Folder as downloaded, also on S3 (`s3://BUCKET/FOLDER`, docs/scale.md); None for a dataset that is generated."""
    split: Literal["image-disjoint", "official"] = "image-disjoint"
    """`image-disjoint`: no image or patient in two splits, and what is published as held out stays so (VQA-RAD's test
    part, which shares nearly every image, is drawn anew). `official`: as published, leaks reported."""
    max_train_examples: int | None = Field(None, ge=1, le=1_000_000_000)
    """Use at most this many training questions (whole images, drawn with the run's seed); None: all."""

    @property
    def groups(self) -> Mapping[str, Mapping[str, Any]]:
        """The groups of single datasets as they were given, by name."""
        return self.__pydantic_extra__ or {}

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        for name, value in self.groups.items():
            if not isinstance(value, Mapping):
                known = sorted(type(self).model_fields)
                raise ValueError(f"unknown setting 'data.{name}'; {suggestion(name, known, 'known here')}")
        if self.split == "official":
            refuse_set(self, {"split_seed", "fractions"}, "data", "data.split is 'official', so none is drawn")
        return self
