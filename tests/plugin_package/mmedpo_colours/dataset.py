"""A dataset with settings of its own: one image and one question per line of `answers.csv`."""

from __future__ import annotations

import csv
from pathlib import Path

from pydantic import Field

from mmedpo.config import Settings
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress
from mmedpo.errors import DataError
from mmedpo.imaging.index import index_images
from mmedpo.records import Drop, Example
from mmedpo.registry import register


class ColourSettings(Settings):
    """`data.colours.*` of a recipe."""

    question: str = "Which colour?"
    """Asked of every image."""
    most: int = Field(1000, ge=1)
    """Lines that are read."""


@register("dataset", "colours")
class Colours:
    """Columns `file`, `answer`, `split`."""

    name = "colours"
    data_use: DataUse = "open"
    settings = ColourSettings

    def __init__(self, own: ColourSettings) -> None:
        self.own = own

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads the folder; an unreadable image is a drop."""
        table = root / "answers.csv"
        if not table.exists():
            raise DataError(f"{table} is missing; data.root must hold answers.csv")
        rows = list(csv.DictReader(table.read_text().splitlines()))[: self.own.most]
        index = index_images(root, [row["file"] for row in rows], progress=progress)
        reading = DatasetReading([], [], ["colours, for tests"])
        for number, row in enumerate(rows):
            if row["file"] in index.failures:
                reason = index.failures[row["file"]]
                reading.drops.append(Drop(stage="data", item=row["file"], reason="unreadable-image", detail=reason))
                continue
            reading.examples.append(
                Example(
                    example_id=f"colours/{number}",
                    dataset=self.name,
                    split=row["split"],
                    image=index.images[row["file"]],
                    question=self.own.question,
                    answer=row["answer"],
                    answer_type="open",
                )
            )
        return reading
