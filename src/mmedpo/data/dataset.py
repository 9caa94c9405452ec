"""What a dataset is, and what every dataset's reader needs.

A reader turns a folder as downloaded into `Example`s. One bad record among thousands becomes a `Drop`
with a countable reason; a folder that is not the dataset, or of which too little is usable, is a
`DataError`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeAlias

from mmedpo.config import DatasetSettings, DataSettings, own_settings
from mmedpo.errors import DataError
from mmedpo.records import Drop, Example
from mmedpo.registry import lookup, optional
from mmedpo.storage.embedded import EmbeddedImages

__all__ = [
    "DataUse",
    "Dataset",
    "DatasetReading",
    "DatasetSettings",
    "InRun",
    "Progress",
    "as_text",
    "embedded_images",
    "find_base",
    "find_entry",
    "make_dataset",
    "require_usable",
]

DataUse = Literal["open", "restricted"]
"""`restricted`: the licence or the law forbids that records leave the building (e.g. credentialed data)."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, total), always from the thread that called the reader."""


_SURROGATE = re.compile(r"[\ud800-\udfff]")


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


class InRun(DatasetSettings):
    """What a reader is told inside a run."""

    extracted: Path
    """Folder that images inside a table are written to."""


class Dataset(Protocol):
    """A registered dataset: `@register("dataset", NAME)` on a class.

    The class may declare, as class attributes:

    - `settings`, its own settings (a subclass of `mmedpo.config.Settings`): recipes give them as `data.NAME.*`,
      and the class is made with them as its one argument; without, it is made without arguments.
    - `group`, another name than its own for that group, e.g. where several datasets share their settings.
    - `generated = True`: it needs no `data.root`, and writes its images into the folder it is told to read.
    """

    name: ClassVar[str]
    """Registered name."""
    data_use: ClassVar[DataUse]
    """Whether its records may leave the building."""

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads the folder `root` as downloaded.

        Raises:
            DataError: the folder or its annotation file is missing or not this dataset's, or too little is usable.
            ConfigError: a setting is unknown to this dataset.
        """
        ...

    @optional
    def severity(self, example: Example) -> Mapping[tuple[str, ...], float]:
        """The words of a wrong answer -> how grave it truly is, where the dataset knows; no agent does."""
        ...


def make_dataset(data: DataSettings) -> Dataset:
    """The dataset of a recipe, with its own settings.

    Raises:
        ConfigError: unknown, or a setting it does not know.
    """
    kind = lookup("dataset", data.dataset)
    own = own_settings(kind, data)
    dataset: Dataset = kind() if own is None else kind(own)
    return dataset


def embedded_images(settings: DatasetSettings) -> EmbeddedImages:
    """Where a reader writes images that lie inside a table: into the run, else where they go with the reading."""
    return EmbeddedImages(settings.extracted if isinstance(settings, InRun) else None)


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
        entries = sorted(root.iterdir())
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


def find_base(root: Path, spellings: Sequence[str]) -> str:
    """Path below `root` of the folder that holds one of the files: itself (empty), else its one subfolder that does.

    Archives unpack into a folder of their own, and people point to the one above it.
    """
    if not root.is_dir() or _holds(root, spellings):
        return ""
    try:
        inside = [entry.name for entry in sorted(root.iterdir()) if entry.is_dir() and _holds(entry, spellings)]
    except OSError:
        return ""
    return inside[0] if len(inside) == 1 else ""


def _holds(folder: Path, spellings: Sequence[str]) -> bool:
    wanted = {_plain(spelling) for spelling in spellings}
    try:
        return any(_plain(entry.name) in wanted and entry.is_file() for entry in folder.iterdir())
    except OSError:
        return False


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
            f"({reasons}{first}); complete the download or lower data.min_usable"
        )
    note = f"{len(reading.drops)} of {total} records were dropped: {reasons}"
    return replace(reading, notes=[*reading.notes, note])


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "").replace("_", "").replace("-", "")
