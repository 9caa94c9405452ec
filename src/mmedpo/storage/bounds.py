"""What a table may cost before it is refused: a small file can spell a very large one.

Each limit lies well above every public table of medical questions or preferences, and well below what
exhausts a workstation.
"""

from __future__ import annotations

from mmedpo.errors import MMedPOError

MEGABYTE = 1 << 20

MOST_ROWS = 5_000_000
"""Rows of a file. The largest public tables of this field have about two million; a row costs about a kilobyte."""
LONGEST_ROW = 64 * MEGABYTE
"""Bytes of one row. A few radiographs of full size, spelled as base64, and their conversation fit."""
MOST_PARTS = 10_000
"""Images, turns or parts of a turn in one row: more than the slices of any volume."""
LONGEST_TEXT = MEGABYTE
"""Characters of one question, answer or report: three hundred printed pages."""
MOST_DECODED = 128 * MEGABYTE
"""Bytes that the rows of any file may hold, however small it is: one prompt repeated in a million rows."""
MOST_TIMES = 32
"""Beyond that, rows may hold this many times the bytes of their file: text compresses three to ten times."""
MOST_VALUES = 32_000_000
"""Values of one column in one group of rows; Parquet spells any number of equal ones in a few bytes."""
LONGEST_WRAPPED = 256 * MEGABYTE
"""Characters of a JSON object that wraps a list of rows: it is parsed as a whole, at about eight times its size."""


class Expansion:
    """Counts what the rows of one file hold, and ends the reading when it is out of proportion to the file."""

    def __init__(self, file_size: int, name: str, error: type[MMedPOError]) -> None:
        self.most = MOST_DECODED + MOST_TIMES * file_size
        self.name, self.error, self.held, self.rows = name, error, 0, 0

    def add(self, held: int, rows: int = 1) -> None:
        """Counts bytes and rows before they are decoded.

        Raises:
            MMedPOError: (the given class) too many of either.
        """
        self.held += held
        self.rows += rows
        if self.held > self.most:
            raise self.error(
                f"{self.name} expands to more than {self.most:,} bytes of rows; split it into smaller files"
            )
        if self.rows > MOST_ROWS:
            raise self.error(f"{self.name} holds more than {MOST_ROWS:,} rows; split it into smaller files")
