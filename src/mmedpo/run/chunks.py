"""Fixed chunks of a list of items, each in a file of its own once it is done: what a killed stage goes on from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mmedpo.records import Record
from mmedpo.storage.tables import read_table, write_table

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Chunks(Generic[R]):
    """The chunks of one piece of work.

    They depend on the items alone, so a run that was killed and resumed computes exactly the chunks
    an uninterrupted one would.
    """

    folder: Path
    """Where the files lie: the stage's folder of unfinished work."""
    label: str
    """What is done, as it is shown, e.g. `sampling answers`."""
    items: int
    """How many there are."""
    size: int
    """Items in a chunk."""
    record: type[R]
    """What an item becomes."""

    @property
    def starts(self) -> range:
        """Position of the first item of every chunk."""
        return range(0, self.items, self.size)

    def open(self) -> list[int]:
        """Starts of the chunks that are not done."""
        return [start for start in self.starts if not self._part(start).exists()]

    def length(self, start: int) -> int:
        """Items of one chunk."""
        return min(self.size, self.items - start)

    def save(self, start: int, records: Sequence[R]) -> None:
        """Notes a chunk as done."""
        write_table(self._part(start), self.record, records)

    def read(self, start: int) -> list[R]:
        """The records of a chunk that is done."""
        return read_table(self._part(start), self.record)

    def _part(self, start: int) -> Path:
        # The size is in the name: chunks of another size, or of a version that cut otherwise, are never taken up.
        return self.folder / f"{self.label.replace(' ', '-')}-by-{self.size}-{start:08d}.parquet"


@dataclass(frozen=True)
class Finished(Iterable[R]):
    """The records of all chunks in their order, a chunk in memory at a time; to be gone through any number of times."""

    chunks: Chunks[R]
    unsaved: Mapping[int, Sequence[R]]
    """Records of the chunks that are not whole, by their starts."""

    def __iter__(self) -> Iterator[R]:
        for start in self.chunks.starts:
            yield from self.unsaved[start] if start in self.unsaved else self.chunks.read(start)
