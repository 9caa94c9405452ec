"""Rows out of CSV, TSV, JSON, JSONL, Parquet, Arrow and whole folders of these, without trusting them.

Folders are read in the layouts that data set hubs write: `data/train-00000-of-00002.parquet`, and
`train/data-00000-of-00001.arrow` (a dataset saved to disk). The split stands in the name. Images that lie
inside a table are written once to `extracted-images/` below the dataset's root, under their hash.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmedpo.config import Settings
from mmedpo.errors import DataError
from mmedpo.imaging.formats import image_suffix
from mmedpo.imaging.images import safe_join
from mmedpo.storage.files import read_json_rows
from mmedpo.storage.tables import write_bytes

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".arrow")
EXTRACTED = "extracted-images"

_SPLIT = re.compile(r"(train|validation|validate|valid|val|dev|test)(?![a-z])", re.IGNORECASE)
_NOTES = ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")
"""What a saved dataset keeps about itself beside its tables."""
_LONGEST_FIELD = 10_000_000


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
    """The split its file's name tells; empty where it tells none."""
    value: Any
    """A mapping, if all is well."""


def table_files(root: Path, name: str) -> list[Path]:
    """The files of a table: the named file, every table in the named folder, or the only table below `root`.

    Raises:
        DataError: there is none, or several and none is named.
    """
    if name:
        start = safe_join(root, name)
        if not start.exists():
            raise DataError(f"{root} holds no {name!r}; correct data.table.file")
        found = [start] if start.is_file() else _tables(start)
    else:
        here = [p for p in sorted(root.iterdir()) if _is_table(p)] if root.is_dir() else []
        found = here or (_tables(root) if root.is_dir() else [])
        if len({p.suffix for p in found}) > 1 or (len(found) > 1 and not all(split_of(root, p) for p in found)):
            names = ", ".join(p.relative_to(root).as_posix() for p in found[:6])
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
        for number, value in enumerate(_rows(file)):
            yield TableRow(f"{file.name} row {number}", split, value)


def split_of(root: Path, file: Path) -> str:
    """The split that a file's name, or else its folder's, tells; empty where neither does."""
    base = root.resolve()
    relative = file.resolve().relative_to(base) if file.resolve().is_relative_to(base) else Path(file.name)
    for part in (relative.name, *reversed(relative.parts[:-1])):
        found = _SPLIT.search(part)
        if found:
            return found.group(1).casefold()
    return ""


def image_path(root: Path, folder: str, value: object) -> str | None:
    """Relative path of an image cell: a path, or `{bytes, path}`, whose bytes are written below the root.

    Returns:
        None for anything else.
    """
    if isinstance(value, Mapping):
        content = value.get("bytes")
        if isinstance(content, bytes) and content:
            return _extract(root, content)
        value = value.get("path")
    if not isinstance(value, str) or not value:
        return None
    return f"{folder.rstrip('/')}/{value}" if folder else value


def _extract(root: Path, content: bytes) -> str:
    suffix = image_suffix(content)
    relative = f"{EXTRACTED}/{hashlib.sha256(content).hexdigest()}{suffix}"
    target = root / relative
    if not target.exists():
        try:
            write_bytes(target, content)
        except OSError as error:
            raise DataError(
                f"images inside the table cannot be written to {root / EXTRACTED} ({error.strerror}); make it writable"
            ) from error
    return relative


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.name not in _NOTES and path.is_file()


def _tables(folder: Path) -> list[Path]:
    tables = [path for path in sorted(folder.rglob("*")) if _is_table(path)]
    return [path for path in tables if path.suffix.lower() in (".parquet", ".arrow")] or tables


def _rows(file: Path) -> Iterator[Any]:
    suffix = file.suffix.lower()
    try:
        if suffix == ".json":
            yield from read_json_rows(file, DataError, "rows")
        elif suffix == ".jsonl":
            yield from _json_lines(file)
        elif suffix in (".csv", ".tsv"):
            yield from _csv(file, "\t" if suffix == ".tsv" else ",")
        elif suffix in (".parquet", ".arrow"):
            yield from _columnar(file, suffix)
        else:
            raise DataError(f"{file} has the suffix {suffix!r}, readable are {', '.join(SUFFIXES)}; convert it")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}); check path and rights") from error


def _json_lines(file: Path) -> Iterator[Any]:
    with file.open("rb") as handle:
        for line in handle:
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield None


def _csv(file: Path, delimiter: str) -> Iterator[Any]:
    csv.field_size_limit(_LONGEST_FIELD)
    try:
        text = file.read_bytes().decode("utf-8-sig")  # spreadsheets put a mark before the first column's name
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    try:
        for row in csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter):
            yield {key: value for key, value in row.items() if key is not None and value not in (None, "")}
    except csv.Error as error:
        raise DataError(f"{file} is not a readable table ({error}); save it again") from None


def _columnar(file: Path, suffix: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if suffix == ".parquet":
            with pq.ParquetFile(file) as table:
                for batch in table.iter_batches(batch_size=64):
                    yield from batch.to_pylist()
        else:
            with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
                for batch in stream:
                    yield from batch.to_pylist()
    except DataError:
        raise
    except Exception as error:
        # Arrow fails on damaged files in whatever way it happens to; all of it means "unreadable".
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{file} is not a readable table ({why}); download it again") from error
