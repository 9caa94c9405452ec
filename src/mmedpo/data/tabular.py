"""Tables of questions in a dataset's folder: which files they are, which split each tells, which image a cell means.

Folders are read in the layouts that data set hubs write: `data/train-00000-of-00002.parquet`, and
`train/data-00000-of-00001.arrow` (a dataset saved to disk). The split stands in the name.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmedpo.config import Settings
from mmedpo.errors import DataError, brief
from mmedpo.storage import workbook
from mmedpo.storage.embedded import BadImage, EmbeddedImages, images_of
from mmedpo.storage.paths import safe_join
from mmedpo.storage.rows import SUFFIXES, iterate_rows
from mmedpo.storage.splits import split_in, split_named

_NOTES = ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")
"""What a saved dataset keeps about itself beside its tables."""


class FileSettings(Settings):
    """`data.table.*` of every dataset that is a table of questions."""

    file: str = ""
    """File or folder below data.root; empty: the only one there."""
    images: str = ""
    """Folder below data.root that image paths are relative to; empty: where the dataset has them, or data.root."""
    restricted: bool = False
    """True: the licence or the law forbids that these records leave the building."""


class TableRow(NamedTuple):
    """One row and where it stands."""

    where: str
    """`<file> row <number>`, counted from 0."""
    split: str
    """The split its file tells (by a key around its rows, its name, or its folder's); empty where it tells none."""
    value: Any
    """A mapping, if all is well."""
    fault: str = ""
    """Why it cannot be read; empty when it can."""
    columns: tuple[str, ...] = ()
    """The names of the header, in tables whose rows leave out empty cells."""


def table_files(root: Path, name: str) -> list[Path]:
    """The files of a table: the named file, every table in the named folder, or the only table below `root`.

    Raises:
        DataError: there is none, or several and none is named.
    """
    if name:
        start = safe_join(root, name, "table", DataError)
        if not start.exists():
            raise DataError(f"{root} holds no {name!r}; correct data.table.file")
        found = [start] if start.is_file() else _tables(start)
    else:
        here = _but_workbooks([p for p in sorted(root.iterdir()) if _is_table(p)] if root.is_dir() else [])
        found = here or (_tables(root) if root.is_dir() else [])
        if len({p.suffix for p in found}) > 1 or (len(found) > 1 and not all(split_of(root, p) for p in found)):
            names = ", ".join(brief(p.relative_to(root).as_posix(), 60) for p in found[:6])
            raise DataError(f"{root} holds several tables ({names}); name one as data.table.file")
    if not found:
        raise DataError(f"{root} holds no table; readable are {', '.join(SUFFIXES)}: correct the path")
    return found


def read_table_rows(root: Path, files: list[Path]) -> Iterator[TableRow]:
    """Every row of the files, in order.

    Raises:
        DataError: a file cannot be read as what its suffix says.
    """
    for file in files:
        split = split_of(root, file)
        for row in iterate_rows(file, DataError, "rows"):
            where = f"{file.name} row {row.number}"
            yield TableRow(where, split_named(row.group) or split, row.value, row.fault, row.columns)


def split_of(root: Path, file: Path) -> str:
    """The split that a file's name, or else its folder's, tells; empty where neither does."""
    base = root.resolve()
    relative = file.resolve().relative_to(base) if file.resolve().is_relative_to(base) else Path(file.name)
    return next((split for part in (relative.name, *reversed(relative.parts[:-1])) if (split := split_in(part))), "")


def one_image(value: object, folder: str, store: EmbeddedImages) -> str:
    """As `images_in`, for datasets whose questions have one image each.

    Raises:
        BadImage: it means no image, or several.
    """
    if len(images_of(value)) > 1:
        raise BadImage(f"{len(images_of(value))} images, a question has one")
    return images_in(value, folder, store)[0]


def images_in(value: object, folder: str, store: EmbeddedImages) -> tuple[str, ...]:
    """Relative paths of the images a cell means: below `folder`, or of images inside the table, which are written.

    Raises:
        BadImage: it means no image.
    """
    found = images_of(value)
    if not found:
        raise BadImage("no image")
    below = f"{folder.rstrip('/')}/" if folder else ""
    return tuple(store.keep(image) if isinstance(image, bytes) else f"{below}{image}" for image in found)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name not in _NOTES and path.is_file()


def _tables(folder: Path) -> list[Path]:
    tables = [path for path in sorted(folder.rglob("*")) if _is_table(path)]
    return [path for path in tables if path.suffix.lower() in (".parquet", ".arrow")] or _but_workbooks(tables)


def _but_workbooks(tables: list[Path]) -> list[Path]:
    """Beside other tables a workbook is somebody's notes or list of codes."""
    return [path for path in tables if path.suffix.lower() != workbook.SUFFIX] or tables
