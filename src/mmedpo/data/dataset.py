"""What a dataset is, and what every dataset's reader needs.

A reader turns a folder as downloaded into `Example`s. One bad record among thousands becomes a `Drop`
with a countable reason; a folder that is not the dataset, or of which too little is usable, is a
`DataError`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from pydantic import Field

from mmedpo.config import ReportSettings, SlakeSettings, TableSettings
from mmedpo.errors import DataError
from mmedpo.imaging.images import MAX_PIXELS
from mmedpo.records import Drop, Example, Record
from mmedpo.storage.embedded import EmbeddedImages

DataUse = Literal["open", "restricted"]
"""`restricted`: the licence or the law forbids that records leave the building (e.g. credentialed data)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total), always from the thread that called the reader."""


_SURROGATE = re.compile(r"[\ud800-\udfff]")


class DatasetSettings(Record):
    """What a user may choose about reading any dataset."""

    split: str = ""
    """Name of the dataset's split scheme, e.g. `official`; empty for the dataset's default."""
    seed: int = 0
    """Seed of a drawn split."""
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    """Shares of train, validation and test in a drawn split; they sum to 1."""
    min_usable: float = Field(default=0.5, ge=0, le=1)
    """Smallest share of the records that must be usable: less means the wrong folder, not a few bad files."""
    max_pixels: int = Field(default=MAX_PIXELS, gt=0)
    """Largest image that is decoded, width x height."""
    workers: int = Field(default=0, ge=0)
    """Threads that decode images; 0 for one per core."""
    allow_burned_in: bool = False
    """Read DICOM files of restricted data that say text is burned into their pixels."""
    extracted: Path | None = None
    """Folder that images inside a table are written to; None for one that goes when the reading does."""
    slake: SlakeSettings = SlakeSettings()
    """Settings of SLAKE."""
    reports: ReportSettings = ReportSettings()
    """Settings of the datasets of reports."""
    table: TableSettings = TableSettings()
    """Settings of a table of one's own, and of LLaVA-Med question files."""


@dataclass(frozen=True)
class DatasetReading:
    """What a reader found."""

    examples: list[Example]
    """Usable examples, in the order of the annotation file."""
    drops: list[Drop] = field(default_factory=list)
    """Records left out, each with its reason."""
    notes: list[str] = field(default_factory=list)
    """Warnings for the user, one sentence each, e.g. about a leak between the splits."""
    extracted: EmbeddedImages | None = field(default=None, compare=False)
    """Where the images lay inside a table: the folder that all image paths are relative to; None: the dataset's."""


class Dataset(Protocol):
    """A registered dataset: `@register("dataset", NAME)` on a class without constructor arguments."""

    name: str
    """Registered name."""
    data_use: DataUse
    """Whether its records may leave the building."""

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads the folder `root` as downloaded.

        Raises:
            DataError: the folder or its annotation file is missing or not this dataset's, or too little is usable.
            ConfigError: a setting is unknown to this dataset.
        """
        ...


def data_use(dataset: Dataset, table: TableSettings) -> DataUse:
    """Whether the records may leave the building: the dataset's own word, or the user's for a table of his own."""
    return "restricted" if table.restricted else dataset.data_use


def find_entry(root: Path, spellings: Sequence[str], *, folder: bool) -> Path:
    """The file (or folder) below `root` whose name is one of `spellings`; case, blanks, `_` and `-` are ignored.

    Archives reach people under names that differ only in these. The earlier spelling wins.

    Raises:
        DataError: `root` is not a folder or holds none of them.
    """
    wanted = " or ".join(repr(spelling) for spelling in spellings)
    if not root.is_dir():
        raise DataError(f"dataset folder {root} does not exist; it should hold {wanted}: correct the path or download")
    try:
        entries = sorted(entry for entry in root.iterdir())
    except OSError as error:
        raise DataError(f"dataset folder {root} cannot be listed ({error.strerror}); check its rights") from error
    for spelling in spellings:
        for entry in entries:
            if _plain(entry.name) == _plain(spelling) and (entry.is_dir() if folder else entry.is_file()):
                return entry
    what = "folder" if folder else "file"
    packed = [e.name for e in entries if folder and any(_plain(e.name) == f"{_plain(s)}.zip" for s in spellings)]
    if packed:
        raise DataError(f"{root} holds {packed[0]} but no folder {wanted}; unpack it there")
    raise DataError(f"{root} holds no {what} {wanted}; point to the folder as downloaded, or download it again")


def as_text(value: object) -> str | None:
    """Text of an annotation, stripped; numbers become text (five answers of VQA-RAD are integers).

    None for everything else, also for text that no file could hold (half of a surrogate pair).
    """
    if isinstance(value, str):
        return None if _SURROGATE.search(value) else value.strip()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return None if isinstance(value, float) and not math.isfinite(value) else str(value)


def require_usable(reading: DatasetReading, root: Path, min_usable: float) -> DatasetReading:
    """Gives `reading` back, with a note that counts its drops, if enough of it is usable.

    Raises:
        DataError: no example, or a smaller share than `min_usable`; the message counts the reasons.
    """
    used, total = len(reading.examples), len(reading.examples) + len(reading.drops)
    if not reading.drops and used:
        return reading
    counts = Counter(drop.reason for drop in reading.drops)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common()) or "no record"
    first = f"; the first: {reading.drops[0].detail}" if reading.drops else ""
    if used == 0 or used < min_usable * total:
        raise DataError(
            f"{root}: {used} of {total} records are usable, needed are {min_usable:.0%} and at least one "
            f"({reasons}{first}); complete the download or lower min_usable"
        )
    note = f"{len(reading.drops)} of {total} records were dropped: {reasons}"
    return replace(reading, notes=[*reading.notes, note])


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "").replace("_", "").replace("-", "")
