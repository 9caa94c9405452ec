"""PathVQA: 32,632 questions on 4,289 pathology images (He et al. 2020; MIT), as published on the hubs, or as JSON.

    data/{train,validation,test}-*.parquet                      image {bytes, path}, question, answer
    {train,val,test}_qa.json + images/{train,val,test}/*.jpg    [{image, question, answer}]

The first release keeps its questions in Python pickles. A pickle can run any program when it is read, so
they are never loaded: the same questions lie in the Parquet files of the hubs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmedpo.data.assemble import OFFICIAL, Parsed, Question, assemble, closed_or_open, yes_no_choices
from mmedpo.data.dataset import DatasetReading, DatasetSettings, DataUse, Progress, as_text, embedded_images
from mmedpo.data.tabular import TableRow, one_image, read_table_rows
from mmedpo.errors import DataError
from mmedpo.registry import register
from mmedpo.storage.embedded import BadImage
from mmedpo.storage.splits import official_name, spellings


@register("dataset", "path-vqa")
class PathVqa:
    """Reader of the PathVQA folder."""

    name = "path-vqa"
    data_use: DataUse = "open"
    licence = "MIT (He et al. 2020)"

    def read(self, root: Path, settings: DatasetSettings, progress: Progress | None = None) -> DatasetReading:
        """Reads all questions; default split: official.

        Raises:
            DataError: not the dataset's folder, its questions are pickles, or too little is usable.
            ConfigError: unknown split scheme.
        """
        parsed = Parsed(images=embedded_images(settings))
        for number, row in enumerate(_rows(root)):
            _add(parsed, root, row, number)
        return assemble(self.name, root, parsed, settings, progress, data_use=self.data_use, default=OFFICIAL)


def _rows(root: Path) -> Iterator[TableRow]:
    if not root.is_dir():
        raise DataError(f"dataset folder {root} does not exist; correct the path or download PathVQA")
    tables = sorted(root.rglob("*.parquet")) or sorted(root.rglob("*_qa.json"))
    if not tables:
        if any(root.rglob("*.pkl")):
            raise DataError(f"{root} holds its questions as pickles, which are never loaded; use the Parquet files")
        raise DataError(f"{root} holds neither Parquet files nor *_qa.json; point to PathVQA as downloaded")
    return read_table_rows(root, tables)


def _add(parsed: Parsed, root: Path, row: TableRow, number: int) -> None:
    if row.fault or not isinstance(row.value, Mapping):
        parsed.drop(row.where, "not-a-record", f"{row.where}: {row.fault or 'it is not an object'}")
        return
    question, answer = as_text(row.value.get("question")), as_text(row.value.get("answer"))
    if question is None or answer is None:
        parsed.drop(row.where, "missing-key", f"{row.where} needs image, question and answer")
        return
    try:
        image = one_image(row.value.get("image"), "", parsed.images)
    except BadImage as bad:
        parsed.drop(row.where, "no-image", f"{row.where}: image holds {bad}")
        return
    answer_type = closed_or_open(answer)
    parsed.add(
        Question(
            example_id=f"path-vqa-{number}",
            image=_located(root, image, row.split),
            question=question,
            answer=answer,
            answer_type=answer_type,
            split=official_name(row.split),
            choices=yes_no_choices(answer_type, answer),
            tags=("modality:pathology",),
        )
    )


def _located(root: Path, image: str, split: str) -> str:
    """JSON files name an image without folder and suffix."""
    if "/" in image:
        return image
    for folder in (*(f"images/{name}" for name in spellings(split)), "images"):
        for suffix in ("", ".jpg", ".png"):
            if (root / folder / f"{image}{suffix}").is_file():
                return f"{folder}/{image}{suffix}"
    return f"images/{split}/{image}"
