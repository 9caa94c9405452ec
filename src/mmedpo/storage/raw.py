"""One row of a table as it stands in its file, before anybody makes sense of it."""

from __future__ import annotations

from typing import Any, NamedTuple


class RawRow(NamedTuple):
    """A row, and where it stands."""

    number: int
    """Position in the file, counted from 0."""
    value: Any
    """A mapping, if all is well; None where there is a fault."""
    fault: str = ""
    """Why it cannot be read; empty when it can."""
    group: str = ""
    """The key its list stood under, in a file that names its lists (`{"train": [...], "test": [...]}`)."""
    share: float = 1.0
    """Share of the file that has been read, 0..1."""
    columns: tuple[str, ...] = ()
    """The names of the header, in tables whose rows leave out empty cells."""
