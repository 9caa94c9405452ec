"""Rows of CSV and TSV, as spreadsheets of any country write them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from mmedpo.errors import MMedPOError, brief, shown
from mmedpo.storage.bounds import LONGEST_ROW, MOST_ROWS
from mmedpo.storage.raw import RawRow
from mmedpo.storage.text import not_text, open_text

_DELIMITERS = (",", ";", "\t", "|")


def delimited_rows(path: Path, error: type[MMedPOError], what: str) -> Iterator[RawRow]:
    """The rows of a table of separated values; empty cells are left out.

    A row with more cells than the header is a faulty one: its cells no longer stand under their names.

    Args:
        path: the file; what separates its cells is told by its header.
        error: raised, with one clear line, when the file as a whole cannot be read.
        what: what the rows are.
    """
    csv.field_size_limit(LONGEST_ROW)
    size = max(1, path.stat().st_size)
    try:
        with open_text(path, error) as handle:
            rows = csv.reader(handle, delimiter=_delimiter(path))
            header = next((row for row in rows if row and not (len(row) <= 2 and row[0].startswith("sep="))), [])
            names = [name.strip("\ufeff \t") for name in header]
            check_names(names, path, error, what)
            columns, number = tuple(filter(None, names)), 0
            for cells in rows:
                if not cells:
                    continue
                if number >= MOST_ROWS:
                    raise error(f"{path} holds more than {MOST_ROWS:,} rows; split it into smaller files")
                fault = ""
                if any(cells[len(names) :]):
                    fault = f"{len(cells)} cells under {len(names)} names of columns"
                value = {name: cell for name, cell in zip(names, cells, strict=False) if cell != "" and name}
                share = min(1.0, handle.buffer.tell() / size)
                yield RawRow(number, None if fault else value, fault, "", share, columns)
                number += 1
    except UnicodeError as problem:
        raise error(not_text(path, problem)) from None
    except csv.Error as problem:
        lone = "new-line" in str(problem)
        why = "its lines end in a lone carriage return" if lone else brief(str(problem), 100)
        raise error(f"{path} is not a readable table ({why}); save it again as 'CSV UTF-8'") from None


def _delimiter(path: Path) -> str:
    """What separates the header's names: whatever occurs most in the first line; a tab where the suffix says so."""
    with path.open("rb") as handle:
        head = handle.read(1 << 16)
    line = head.replace(b"\0", b"").split(b"\n")[0].decode("latin-1")
    if line.lstrip("\ufeff\xef\xbb\xbf\xff\xfe").startswith("sep="):
        return line.strip()[-1]
    if path.suffix.lower() == ".tsv" and "\t" in line:
        return "\t"
    counts = {delimiter: line.count(delimiter) for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=lambda delimiter: counts[delimiter])


def check_names(names: list[str], path: Path, error: type[MMedPOError], what: str) -> None:
    """Raises `error` where a header names a column twice, or none."""
    again = next((name for name in names if name and names.count(name) > 1), "")
    if again:
        raise error(f"{path} names the column {shown(again)} twice; give every column a name of its own")
    if names and not any(names):
        raise error(f"{path} names no column in its first row; expected is a table of {what} with a header")
