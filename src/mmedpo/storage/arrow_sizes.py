"""What the messages of an Arrow stream expand to, read from their headers before anything is decoded.

The buffers of a message may be compressed, each beginning with its real length (Arrow columnar format,
"Serialization and Interprocess Communication"; flatbuffer tables `Message`, `RecordBatch`, `DictionaryBatch`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmedpo.errors import MMedPOError
from mmedpo.storage.bounds import MOST_DECODED, MOST_ROWS, MOST_TIMES

_FILE_START = 8
"""Bytes before the first message of an Arrow file: its magic and padding."""
_DICTIONARY, _RECORDS = 2, 3
"""`MessageHeader` of the two kinds that hold data."""


def check_messages(source: Any, error: type[MMedPOError], path: Path, *, in_file: bool) -> None:
    """Refuses a stream or file one of whose messages is out of proportion; the source stands at its start again.

    Raises:
        MMedPOError: (`error`) more bytes or rows than tables have.
    """
    import pyarrow as pa

    most = MOST_DECODED + MOST_TIMES * path.stat().st_size
    source.seek(_FILE_START if in_file else 0)
    for message in pa.ipc.MessageReader.open_stream(source):
        rows, held = message_size(bytes(message.metadata), memoryview(message.body or b""))
        if held > most:
            raise error(f"{path} expands to {held:,} bytes in one batch, allowed are {most:,}; write smaller ones")
        if rows > MOST_ROWS:
            raise error(f"{path} says it holds {rows:,} rows in one batch, allowed are {MOST_ROWS:,}; split it")
    source.seek(0)


def message_size(metadata: bytes, body: memoryview) -> tuple[int, int]:
    """(rows, bytes its buffers take once they are decompressed) of one message; (0, 0) for a schema."""
    message = _root(metadata)
    header = _field(metadata, message, 2)
    kind = metadata[_field(metadata, message, 1)] if _field(metadata, message, 1) else 0
    if kind not in (_DICTIONARY, _RECORDS) or not header:
        return 0, 0
    records = _follow(metadata, header)
    if kind == _DICTIONARY:
        records = _follow(metadata, _field(metadata, records, 1))
    at = _field(metadata, records, 0)
    rows = _integer(metadata, "<q", at) if at else 0
    compressed = bool(_field(metadata, records, 3))
    held = 0
    for start, length in _buffers(metadata, records):
        real = length
        if compressed and length >= 8:
            told = _integer(body, "<q", start)
            real = length - 8 if told < 0 else told
        held += real
    return rows, held


def _buffers(metadata: bytes, records: int) -> Iterator[tuple[int, int]]:
    at = _field(metadata, records, 2)
    if at:
        vector = _follow(metadata, at)
        for index in range(_integer(metadata, "<I", vector)):
            yield struct.unpack_from("<qq", metadata, vector + 4 + 16 * index)


def _root(data: bytes) -> int:
    return _integer(data, "<I", 0)


def _follow(data: bytes, at: int) -> int:
    return at + _integer(data, "<I", at)


def _field(data: bytes, table: int, number: int) -> int:
    """Position of a field of a table; 0 where it is left out."""
    fields = table - _integer(data, "<i", table)
    if 4 + 2 * number >= _integer(data, "<H", fields):
        return 0
    offset = _integer(data, "<H", fields + 4 + 2 * number)
    return table + offset if offset else 0


def _integer(data: bytes | memoryview, layout: str, at: int) -> int:
    return int(struct.unpack_from(layout, data, at)[0])
