"""Records to Parquet and back, without a second schema to keep in step.

The Arrow schema is derived from the record's own annotations, so a table with no rows still has
its columns and a column that is None everywhere still has its type. A file never lies half-written
under its final name.
"""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from mmedpo.errors import RunFolderError, brief, shown
from mmedpo.records import Record
from mmedpo.storage.columnar import column_names, columnar_rows

R = TypeVar("R", bound=Record)


_GROUP, _BATCH = 1 << 16, 1 << 9
"""Rows of a row group, held as columns; and those of them that are plain values at a time."""


def write_table(path: Path, record_type: type[R], records: Iterable[R]) -> None:
    """Writes records (in the given order) as one Parquet file, atomically; a group of rows at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # What is sparse is known after a pass of its own.
    every = records if isinstance(records, Sequence) or not record_type.sparse else list(records)
    schema = _schema(record_type, _idle(record_type, every))
    left = iter(every)
    batches = iter(lambda: [record.model_dump(mode="json") for record in islice(left, _BATCH)], [])
    # The file is opened here: Arrow would spell its name in UTF-8, whatever the system's encoding is.
    with atomic_path(path) as partial, partial.open("wb") as handle, pq.ParquetWriter(handle, schema) as writer:
        for number in count():
            tables = [pa.Table.from_pylist(rows, schema=schema) for rows in islice(batches, _GROUP // _BATCH)]
            if number and not tables:
                break
            # In one piece, so that the bytes of the file do not depend on the size of a batch.
            writer.write_table(pa.concat_tables([schema.empty_table(), *tables]).combine_chunks())


def _idle(record_type: type[R], records: Iterable[R]) -> set[str]:
    """The sparse fields that no record fills."""
    idle = set(record_type.sparse)
    for record in records if idle else ():
        idle = {name for name in idle if getattr(record, name) == record_type.model_fields[name].default}
        if not idle:
            break
    return idle


def read_table(path: Path, record_type: type[R]) -> list[R]:
    """Reads the records that `write_table` wrote; see `stored`."""
    return list(stored(path, record_type))


def stored(path: Path, record_type: type[R]) -> Iterator[R]:
    """The records that `write_table` wrote, read as they are asked for.

    Raises:
        RunFolderError: the file is missing or damaged, expands to more memory than tables take (whoever made the
            folder), or its columns or values are not those of the record type.
    """
    if not path.exists():
        raise RunFolderError(f"{path} is missing; run the stage that writes it, or `mmedpo status RUN`")
    expected, there = set(record_type.model_fields), set(_columns(path))
    if not expected - record_type.sparse <= there <= expected:
        difference = brief(", ".join(sorted(expected ^ there)))
        raise RunFolderError(f"{path} was written by another version (columns differ: {difference}); use a new run")
    try:
        rows = columnar_rows(path, RunFolderError, record_type.__name__, own=True, fix="delete it and run again")
        yield from (record_type.model_validate(row.value) for row in rows)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        met = f"{where}={shown(first['input'])} ({brief(first['msg'])})"
        raise RunFolderError(f"{path} holds {met}; delete it and run again") from None


def _columns(path: Path) -> list[str]:
    try:
        return column_names(path)
    except Exception as error:
        # Arrow fails on damaged files in whatever way it happens to; all of it means "unreadable".
        why = brief(" ".join(str(error).split()))
        raise RunFolderError(f"{path} is not a readable table ({why}); delete it and run again") from error


PARTIAL = ".partial-"
"""In the name of every file or folder that is being written; one that is left was left by a process that died."""


def partial_name(path: Path) -> Path:
    """The name beside `path` under which this process writes it."""
    return path.with_name(f".{path.name}{PARTIAL}{os.getpid()}")


class atomic_path:
    """Gives a temporary name beside `path`; on success it is synced and renamed to `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = partial_name(path)

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.partial

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                with self.partial.open("rb") as handle:
                    os.fsync(handle.fileno())
                self.partial.replace(self.path)
        finally:
            # Also on success: renaming one hard link of a file to another of it leaves both names.
            self.partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file, atomically."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Writes a whole UTF-8 text file, atomically."""
    write_bytes(path, content.encode())


def _schema(record_type: type[Record], idle: set[str]) -> Any:
    import pyarrow as pa

    hints = typing.get_type_hints(record_type)
    return pa.schema([(name, _arrow_type(hints[name])) for name in record_type.model_fields if name not in idle])


def _arrow_type(annotation: Any) -> Any:
    import pyarrow as pa

    scalars = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if annotation in scalars:
        return scalars[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return pa.string()
    if origin in (typing.Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return _arrow_type(inner)
    if origin is tuple:
        return pa.list_(_arrow_type(arguments[0]))
    if isinstance(annotation, type) and issubclass(annotation, Record):
        hints = typing.get_type_hints(annotation)
        return pa.struct([(name, _arrow_type(hints[name])) for name in annotation.model_fields])
    if origin is dict:
        return pa.map_(_arrow_type(arguments[0]), _arrow_type(arguments[1]))
    raise TypeError(f"no Arrow type for {annotation!r}")
