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


class SlakeSettings(Settings):
    """SLAKE is bilingual."""

    languages: tuple[Literal["en", "zh"], ...] = Field(("en",), min_length=1)
    """Languages whose questions are read."""


class ReportSettings(Settings):
    """Datasets of radiographs with reports."""

    sections: tuple[Literal["findings", "impression"], ...] = Field(("findings", "impression"), min_length=1)
    """Sections that make up the reference report, in this order; a report without any of them is left out."""
    views: Literal["frontal", "first", "all"] = "frontal"
    """Images of a study: the first frontal one (where the dataset says which; else the first), the first, or each."""
    question: str = "Describe the findings and the impression of this chest radiograph."
    """What is asked of every image."""


class TableSettings(Settings):
    """A table of questions: CSV, TSV, JSON, JSONL, Parquet, Arrow, or a folder of these."""

    file: str = ""
    """File or folder below data.root; empty: the only one there."""
    images: str = ""
    """Folder below data.root that image paths are relative to; empty: data.root itself."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our name to the table's: image, question, answer, and optionally id, split, answer_type, patient_id, choices.

    Choices may stand in several columns: `Choice A,Choice B`; columns named A, B, C ... are found without a mapping.
    """
    question: str = ""
    """Asked of every image, where the table has no column of questions."""
    restricted: bool = False
    """True: the licence or the law forbids that these records leave the building."""


class DataSettings(Settings):
    """Which dataset, and how it is split."""

    dataset: str = "phantom"
    """Registered name."""
    root: UserPath | None = None
    """Folder as downloaded; None for a dataset that is generated."""
    split: Literal["image-disjoint", "official"] = "image-disjoint"
    """`image-disjoint`: no image or patient in two splits, and what is published as held out stays so (VQA-RAD's test part,
    which shares nearly every image, is drawn anew). `official`: as published, leaks reported."""
    split_seed: int = 0
    """Seed of the image-disjoint split."""
    max_train_examples: int | None = Field(None, ge=1)
    """Use at most this many training questions (whole images, drawn with the run's seed); None: all."""
    allow_burned_in: bool = False
    """Read DICOM files of restricted data that say text is burned into their pixels."""
    phantom: PhantomSettings = PhantomSettings()
    """Settings of the generated dataset."""
    slake: SlakeSettings = SlakeSettings()
    """Settings of SLAKE."""
    reports: ReportSettings = ReportSettings()
    """Settings of the datasets of reports (IU-Xray, MIMIC-CXR)."""
    table: TableSettings = TableSettings()
    """Settings of a table of one's own, and of LLaVA-Med question files."""

    @model_validator(mode="after")
    def _no_idle_settings(self) -> Self:
        if self.dataset == "phantom":
            idle = {"root", "split", "split_seed", "allow_burned_in"}
            refuse_set(self, idle, "data", "the phantom dataset is generated and split")
        else:
            refuse_set(self, {"phantom"}, "data", f"the dataset is {self.dataset!r}")
            if self.root is None:
                raise ValueError(f"data.root is needed for dataset {self.dataset!r}: the folder as downloaded")
        for group, datasets in _GROUPS.items():
            if self.dataset not in datasets:
                refuse_set(self, {group}, "data", f"the dataset is {self.dataset!r}")
        return self


_GROUPS = {
    "slake": {"slake"},
    "reports": {"iu-xray", "mimic-cxr", "mimic-cxr-jpg"},
    "table": {"table", "llava-med"},
}
"""Group of settings to the datasets that read it."""
