"""Many records in little memory: each as the JSON it is told in, and a record again while it is looked at."""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from tempfile import TemporaryFile
from typing import IO, Generic, TypeVar, overload

from pydantic_core import PydanticSerializationError, ValidationError

from mmedpo.records import Record

R = TypeVar("R", bound=Record)

_IN_MEMORY = 1 << 25
"""Bytes of JSON that are kept in memory; what came before them lies in a file without a name, in TMPDIR."""
_BLOCK = 256
"""Records that are read at a time."""


class Held(Sequence[R], Generic[R]):
    """Records of one type, in order. They can be added, never changed.

    A preference row takes 7 kB as an object, 0.7 kB as JSON. Of many rows at most 32 MB are in memory, and eight
    bytes of each; going through all of them makes each anew, 10 microseconds a row.
    """

    def __init__(self, record_type: type[R], records: Iterable[R] = ()) -> None:
        self._type = record_type
        self._ends = array("q")
        self._recent = bytearray()
        self._file: IO[bytes] | None = None
        self._filed = 0
        self._untold: dict[int, R] = {}
        self.extend(records)

    def extend(self, records: Iterable[R]) -> None:
        """Adds records at the end; see `append`."""
        for record in records:
            self.append(record)

    def append(self, record: R) -> None:
        """Adds a record at the end.

        Raises:
            OSError: there is no room for the file.
        """
        told = self._tell(record)
        if told is None:
            self._untold[len(self)] = record
        else:
            self._recent += told
        self._ends.append(self._filed + len(self._recent))
        if len(self._recent) >= _IN_MEMORY:
            self._put_away()

    def _put_away(self) -> None:
        if self._file is None:
            self._file = TemporaryFile(prefix="mmedpo-")  # noqa: SIM115 - open for as long as the records live
            weakref.finalize(self, self._file.close)
        self._file.seek(self._filed)
        self._file.write(self._recent)
        self._file.flush()
        self._filed += len(self._recent)
        self._recent = bytearray()

    def _tell(self, record: R) -> bytes | None:
        """The record as JSON; None where it would not come back the same (a text that is no Unicode)."""
        try:
            told = record.model_dump_json(exclude_defaults=True).encode()
            # A number that is none is told as null; everything else comes back as it was.
            return told if b"null" not in told or self._type.model_validate_json(told) == record else None
        except (PydanticSerializationError, ValidationError, UnicodeError):
            return None

    def _told(self, begin: int, end: int) -> bytes:
        """Bytes of the text of all records."""
        if self._file is None or begin >= self._filed:
            return bytes(self._recent[begin - self._filed : end - self._filed])
        self._file.seek(begin)
        told = self._file.read(min(end, self._filed) - begin)
        return told if end <= self._filed else told + self._told(self._filed, end)

    def _look(self, first: int, last: int) -> Iterator[R]:
        """The records from one place to before another."""
        begin = self._ends[first - 1] if first else 0
        told, end = self._told(begin, self._ends[last - 1]), 0
        for place in range(first, last):
            start, end = end, self._ends[place] - begin
            yield self._untold[place] if place in self._untold else self._type.model_validate_json(told[start:end])

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[R]:
        for first in range(0, len(self), _BLOCK):
            yield from self._look(first, min(first + _BLOCK, len(self)))

    @overload
    def __getitem__(self, place: int) -> R: ...
    @overload
    def __getitem__(self, place: slice) -> list[R]: ...
    def __getitem__(self, place: int | slice) -> R | list[R]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        at = range(len(self))[place]
        return next(self._look(at, at + 1))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(self._type.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]
