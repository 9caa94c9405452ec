"""The one reader of rows: JSON, JSON Lines, CSV, TSV, Excel, Parquet and Arrow files, without trusting them.

Encodings, layouts and separators are told from the content. What a file would take is checked before it is
decoded (`bounds`). One bad row is a row with a fault; a file that cannot be read is one error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from mmedpo.errors import MMedPOError, shown
from mmedpo.storage.columnar import columnar_rows
from mmedpo.storage.delimited import delimited_rows
from mmedpo.storage.json_rows import LINES, json_rows
from mmedpo.storage.raw import RawRow
from mmedpo.storage.workbook import SUFFIX as WORKBOOK
from mmedpo.storage.workbook import workbook_rows

Reader: TypeAlias = Callable[[Path, type[MMedPOError], str], Iterator[RawRow]]

_READERS: dict[str, Reader] = {
    **dict.fromkeys((".json", *LINES), json_rows),
    **dict.fromkeys((".csv", ".tsv"), delimited_rows),
    **dict.fromkeys((".parquet", ".arrow"), columnar_rows),
    WORKBOOK: workbook_rows,
}
SUFFIXES = tuple(_READERS)
"""Suffixes of the files that can be read."""


def iterate_rows(path: Path, error: type[MMedPOError], what: str) -> Iterator[RawRow]:
    """Every row of a file, in order, one at a time.

    Args:
        path: a file with one of `SUFFIXES`.
        error: raised, with one clear line, when the file as a whole cannot be read.
        what: what the rows are, e.g. `preference rows`, for the messages.

    Raises:
        MMedPOError: (`error`) missing, of another suffix, damaged, or larger in memory than tables are.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise error(f"{path} has the suffix {shown(path.suffix)}, readable are {', '.join(SUFFIXES)}; convert it")
    try:
        if not path.is_file():
            met = "is not a regular file" if path.exists() else "does not exist"
            raise error(f"{path} cannot be read: it {met}; check the path")
        yield from reader(path, error, what)
    except OSError as problem:
        why = problem.strerror or type(problem).__name__
        raise error(f"{path} cannot be read ({why}); check path and rights") from problem


def all_rows(path: Path, error: type[MMedPOError], what: str) -> list[RawRow]:
    """As `iterate_rows`, for files that must hold at least one row.

    Raises:
        MMedPOError: (`error`) also when there is none.
    """
    rows = list(iterate_rows(path, error, what))
    if not rows:
        raise error(f"{path} holds no row, expected is a list of {what}; check the file")
    return rows
