"""Text files as people's programs write them: which encoding, or what the file really is."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import TextIO

from mmedpo.errors import MMedPOError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or give it the suffix .xlsx"),
    (b"\xd0\xcf\x11\xe0", "an old or encrypted Excel workbook: save the sheet as CSV (UTF-8)"),
    (b"PAR1", "a Parquet table: give it the suffix .parquet"),
    (b"ARROW1", "an Arrow table: give it the suffix .arrow"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV or JSON Lines"),
    (b"\x80\x04", "a Python pickle, which is never loaded: write it as JSON Lines or Parquet"),
    (b"<!doctype html", "a web page: download the file itself"),
    (b"<html", "a web page: download the file itself"),
)
_ADVICE = "save it as UTF-8 (spreadsheets: 'CSV UTF-8')"


def foreign(head: bytes) -> str:
    """What a file that should hold a table really is, and what to do; empty where nothing is known."""
    plain = head.lstrip().lower()
    return next((what for start, what in _FOREIGN if head.startswith(start) or plain.startswith(start.lower())), "")


def encoding_of(head: bytes) -> str:
    """The encoding that a file's first bytes tell.

    By its byte order mark; without one, by the zeros of its first character: tables begin with an ASCII one
    (RFC 4627, section 3). Everything else is read as UTF-8.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    zeros = tuple(byte == 0 for byte in head[:4])
    spelled = {
        (True, True, True, False): "utf-32-be",
        (False, True, True, True): "utf-32-le",
        (True, False): "utf-16-be",
        (False, True): "utf-16-le",
    }
    return spelled.get(zeros) or spelled.get(zeros[:2]) or "utf-8"


def open_text(path: Path, error: type[MMedPOError], *, lenient: bool = False) -> TextIO:
    """Opens a text table in its own encoding; lines end at a line feed only.

    Args:
        path: the file.
        error: raised, with one clear line, when it is no text table.
        lenient: bytes that are not UTF-8 become lone surrogates (U+DC80..U+DCFF), for the caller to find.
    """
    with path.open("rb") as handle:
        head = handle.read(512)
    what = foreign(head)
    if what:
        raise error(f"{path} is {what}")
    encoding = encoding_of(head)
    errors = "surrogateescape" if lenient and encoding.startswith("utf-8") else "strict"
    return path.open(encoding=encoding, errors=errors, newline="\n")


def not_text(path: Path, problem: UnicodeError) -> str:
    """One line about bytes that are no text in the file's encoding."""
    if not isinstance(problem, UnicodeDecodeError):
        return f"{path} is damaged text ({type(problem).__name__}); {_ADVICE}"
    met = f"{problem.reason} near byte {problem.start}"
    if problem.encoding.startswith("utf-8") or problem.encoding == "utf8":
        return f"{path} is not UTF-8 ({met}); it may be Windows-1252, Latin-1 or GBK: {_ADVICE}"
    return f"{path} is damaged {problem.encoding.upper()} ({met}); {_ADVICE}"
