"""Rows of Parquet and Arrow tables, decoded only after what they would take is known.

Texts and bytes are read as dictionaries, so that a value that stands in a million rows is held once; what a
batch of rows would hold is counted before it becomes Python objects.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedpo.errors import MMedPOError, StorageError, brief
from mmedpo.storage.arrow_values import python_rows
from mmedpo.storage.bounds import LONGEST_ROW, MOST_DECODED, MOST_ROWS, MOST_TIMES, MOST_VALUES, Expansion
from mmedpo.storage.raw import RawRow
from mmedpo.storage.text import foreign

_BATCH = 64
"""Rows that are decoded at a time; they may hold images."""
_OWN_BATCH = 4096
"""The same for tables of records, which hold none."""
_FILE_MAGIC = b"ARROW1"


def columnar_rows(
    path: Path, error: type[MMedPOError], what: str, *, own: bool = False, fix: str = "download or write it again"
) -> Iterator[RawRow]:
    """The rows of a `.parquet` file, or of an `.arrow` file or stream.

    Args:
        path: the file.
        error: raised, with one clear line, when it is damaged, or would take more memory than tables do.
        what: what the rows are.
        own: a Parquet table as we write them, of small rows: maps become dictionaries (else lists of pairs), and a key
            that stands twice in one is damage.
        fix: what the message on a damaged file advises.
    """
    with path.open("rb") as handle:
        head = handle.read(512)
    parquet = own or path.suffix.lower() == ".parquet"
    told = foreign(head)
    if told and not head.startswith(b"PAR1" if parquet else _FILE_MAGIC):
        raise error(f"{path} is {told}")
    try:
        yield from _parquet(path, error, own) if parquet else _arrow(path, head.startswith(_FILE_MAGIC), error)
    except (error, StorageError):
        raise
    except (Exception, MemoryError) as problem:
        # Arrow fails on damaged files in whatever way it happens to; all of it means "unreadable".
        why = brief(" ".join(str(problem).split())) or type(problem).__name__
        raise error(f"{path} is not a readable table ({why}); {fix}") from problem


def row_count(path: Path) -> int:
    """Rows a Parquet file says it has."""
    import pyarrow.parquet as pq

    with path.open("rb") as handle:
        return int(pq.read_metadata(handle).num_rows)


def column_names(path: Path) -> list[str]:
    """Names of the columns of a Parquet file."""
    import pyarrow.parquet as pq

    with path.open("rb") as handle:
        return list(pq.read_schema(handle).names)


def _parquet(path: Path, error: type[MMedPOError], own: bool) -> Iterator[RawRow]:
    import pyarrow.parquet as pq

    # Files are opened here: Arrow would spell their names in UTF-8, whatever the system's encoding is.
    with path.open("rb") as handle, pq.ParquetFile(handle) as plain:
        metadata, columns = plain.metadata, plain.schema
        _check_declared(path, metadata, error)
        texts = [
            columns.column(index).path
            for index in range(len(columns))
            if columns.column(index).physical_type == "BYTE_ARRAY"
        ]
        _check_names(path, plain.schema_arrow.names, error)
    expansion = Expansion(path.stat().st_size, str(path), error)
    number, total = 0, max(1, metadata.num_rows)
    with path.open("rb") as handle, pq.ParquetFile(handle, read_dictionary=texts) as table:
        # One group at a time: each has dictionaries of its own, and Arrow cannot join nested ones.
        for group in range(metadata.num_row_groups):
            for batch in table.iter_batches(batch_size=_OWN_BATCH if own else _BATCH, row_groups=[group]):
                for value in _values(batch, expansion, error, own):
                    yield RawRow(number, value, "", "", (number + 1) / total)
                    number += 1


def _check_declared(path: Path, metadata: Any, error: type[MMedPOError]) -> None:
    """Refuses what the file's own summary says would not fit."""
    if metadata.num_rows > MOST_ROWS:
        raise error(f"{path} says it holds {metadata.num_rows:,} rows, allowed are {MOST_ROWS:,}; split it")
    most = MOST_DECODED + MOST_TIMES * path.stat().st_size
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        if group.total_byte_size > most:
            raise error(
                f"{path} says it expands to {group.total_byte_size:,} bytes in one group, allowed are {most:,}; "
                "write it in smaller groups"
            )
        for column in (group.column(number) for number in range(group.num_columns)):
            if column.num_values > MOST_VALUES:
                raise error(
                    f"{path} says it holds {column.num_values:,} values in one column, allowed are {MOST_VALUES:,}"
                )


def _check_names(path: Path, names: list[str], error: type[MMedPOError]) -> None:
    again = sorted(name for name in set(names) if names.count(name) > 1)
    if again:
        raise error(f"{path} has the column {again[0]!r:.80} twice; give every column a name of its own")


def _arrow(path: Path, is_file: bool, error: type[MMedPOError]) -> Iterator[RawRow]:
    import pyarrow as pa

    expansion = Expansion(path.stat().st_size, str(path), error)
    number = 0
    with path.open("rb") as handle, pa.PythonFile(handle, mode="r") as source:
        for batch in _batches(source, is_file, path, error):
            for start in range(0, batch.num_rows, _BATCH):
                for value in _values(batch.slice(start, _BATCH), expansion, error):
                    yield RawRow(number, value, "", "", min(1.0, source.tell() / max(1, source.size())))
                    number += 1


def _batches(source: Any, is_file: bool, path: Path, error: type[MMedPOError]) -> Iterator[Any]:
    import pyarrow as pa

    from mmedpo.storage.arrow_sizes import check_messages

    if is_file:
        with pa.ipc.open_file(source) as table:
            check_messages(source, error, path, in_file=True)
            _check_names(path, table.schema.names, error)
            for index in range(table.num_record_batches):
                yield table.get_batch(index)
    else:
        check_messages(source, error, path, in_file=False)
        with pa.ipc.open_stream(source) as table:
            _check_names(path, table.schema.names, error)
            yield from table


def _values(batch: Any, expansion: Expansion, error: type[MMedPOError], own: bool = False) -> Iterator[Any]:
    """The rows of a batch as Python objects, counted before they are made."""
    held = sum(weight(column) for column in batch.columns)
    if held <= LONGEST_ROW:
        expansion.add(held, batch.num_rows)
        yield from python_rows(batch, own=own)
        return
    for index in range(batch.num_rows):
        row = batch.slice(index, 1)
        held = sum(weight(column) for column in row.columns)
        if held > LONGEST_ROW:
            raise error(f"{expansion.name} holds a row of {held:,} bytes, allowed are {LONGEST_ROW:,}")
        expansion.add(held)
        yield from python_rows(row, own=own)


def weight(column: Any) -> int:
    """Bytes that an Arrow array's values take once every one of them stands for itself."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _spelled(column)
    if pa.types.is_struct(kind):
        return 8 * len(column) + sum(weight(child) for child in column.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return 8 * len(column) + weight(column.flatten())
    if pa.types.is_map(kind):
        entries = column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        return weight(entries)
    if _is_bytes(kind):
        return 8 * len(column) + int(pc.sum(pc.binary_length(column)).as_py() or 0)
    return int(max(8 * len(column), column.nbytes))


def _spelled(column: Any) -> int:
    import pyarrow.compute as pc

    if not _is_bytes(column.type.value_type):
        return 8 * len(column) + weight(column.dictionary_decode())
    lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
    return 8 * len(column) + int(pc.sum(lengths).as_py() or 0)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_binary, pa.types.is_large_string, pa.types.is_large_binary)
    return any(test(kind) for test in tests)
