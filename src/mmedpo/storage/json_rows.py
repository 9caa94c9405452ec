"""Rows of JSON: a list, JSON Lines, one object after another, or a list wrapped in an object; told by content.

Files are named .json and .jsonl either way, so their names decide only what cannot be told. Rows are parsed one
at a time. A key that stands twice in an object makes the row a faulty one: programs differ in which they take.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from mmedpo.errors import MMedPOError, brief, shown
from mmedpo.storage.bounds import LONGEST_ROW, LONGEST_WRAPPED, MOST_ROWS
from mmedpo.storage.raw import RawRow
from mmedpo.storage.splits import split_named
from mmedpo.storage.text import not_text, open_text

LINES = (".jsonl", ".ndjson")
"""Suffixes of files whose rows are lines, where their content does not say otherwise."""

_CHUNK = 1 << 16
_OF_NUMBERS = "+-.0123456789Ee"
"""Before one of these at the end of what is read, a number may go on in what is not."""
_OF_A_ROW = frozenset(
    ["image", "images", "question", "query", "prompt", "instruction", "answer", "response", "chosen", "messages"]
)
"""Keys that no wrapper of rows has beside them."""
_BLANK = re.compile(r"[ \t\r\n]*")
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")


class _NotJson(Exception):
    """Why the text is not what was expected."""


def json_rows(path: Path, error: type[MMedPOError], what: str) -> Iterator[RawRow]:
    """The rows of a JSON file of any of these layouts.

    Args:
        path: the file.
        error: raised, with one clear line, when the file as a whole cannot be read.
        what: what the rows are, e.g. `preference rows`.
    """
    size = max(1, path.stat().st_size)
    try:
        with open_text(path, error, lenient=True) as handle:
            binary, number = handle.buffer, -1
            for number, row in enumerate(_layout(path, handle)):
                if number >= MOST_ROWS:
                    raise error(f"{path} holds more than {MOST_ROWS:,} rows; split it into smaller files")
                yield RawRow(number, row.value, row.fault, row.group, min(1.0, binary.tell() / size))
            if number < 0:
                raise error(f"{path} holds {'an empty list' if size > 1 else 'nothing'}, expected is a list of {what}")
    except UnicodeError as problem:
        raise error(not_text(path, problem)) from None
    except _NotJson as problem:
        raise error(f"{path} is not JSON ({problem}); expected is a list of {what}, or one of them a line") from None


class _Row(NamedTuple):
    value: Any
    fault: str = ""
    group: str = ""


def _layout(path: Path, handle: TextIO) -> Iterator[_Row]:
    lines = path.suffix.lower() in LINES
    first, more = _first_line(handle)
    handle.seek(0)
    start = first.lstrip()[:1]
    alone = parsed(first)
    if start == "[" and not (more and not alone.fault and lines):
        yield from _list(_Text(handle))
    elif start in ("[", "{") and more and not alone.fault:
        yield from _lines(handle)
    elif start == "{":
        yield from _objects(handle, lines)
    elif lines:
        yield from _lines(handle)
    elif start:
        raise _NotJson(f"it begins with {shown(first.strip()[:20])}")


def _first_line(handle: TextIO) -> tuple[str, bool]:
    """(first line that is not blank, whether another such line follows)."""
    first = _next_line(handle)
    return first, bool(first and _next_line(handle))


def _next_line(handle: TextIO) -> str:
    while line := handle.readline(LONGEST_ROW):
        if line.strip():
            return line
    return ""


def _lines(handle: TextIO) -> Iterator[_Row]:
    while line := handle.readline(LONGEST_ROW):
        if len(line) == LONGEST_ROW and not line.endswith("\n"):
            while (rest := handle.readline(LONGEST_ROW)) and not rest.endswith("\n"):
                pass
            yield _Row(None, f"a line of more than {LONGEST_ROW:,} characters")
        elif line.strip():
            yield parsed(line)


def parsed(line: str) -> _Row:
    """One JSON text: its value, or why it is none."""
    if _NOT_UTF8.search(line):
        return _Row(None, "not UTF-8: save the file as that")
    decoder = _Decoder()
    try:
        return decoder.row(decoder.decode(line.lstrip("\ufeff")))  # a mark stands where files were put together
    except json.JSONDecodeError as problem:
        return _Row(None, f"not JSON ({problem.msg} at character {problem.pos})")
    except (ValueError, RecursionError) as problem:
        return _Row(None, f"not JSON ({_why(problem)})")


def _list(text: _Text) -> Iterator[_Row]:
    text.take("[")
    count = 0
    while text.peek() != "]":
        if count:
            text.take(",", f"after row {count - 1}")
        yield text.value(LONGEST_ROW, f"row {count}")
        count += 1
    text.take("]")
    if text.peek():
        raise _NotJson(f"there is more behind the list of {count} rows")


def _objects(handle: TextIO, lines: bool) -> Iterator[_Row]:
    """One object, which may wrap the rows, or several that do not keep to lines."""
    text = _Text(handle)
    try:
        row = text.value(LONGEST_ROW if lines else LONGEST_WRAPPED, "row 0")
    except _NotJson:
        if not lines:
            raise
        handle.seek(0)
        yield from _lines(handle)
        return
    if not text.peek():
        yield from [row] if row.fault else _unwrapped(row.value)
        return
    yield row
    count = 1
    while text.peek():
        yield text.value(LONGEST_ROW, f"row {count}")
        count += 1


def _unwrapped(value: Mapping[str, Any]) -> Iterator[_Row]:
    """The rows a single object wraps: every list of objects that is named as a split, or the only one; else itself.

    A single row may hold a list of objects too, such as boxes: what stands beside them tells.
    """
    listed = {key: rows for key, rows in value.items() if _are_rows(rows)}
    named = {key: rows for key, rows in listed.items() if split_named(key)}
    if named and len(named) == len(listed):
        for key, rows in named.items():
            yield from (_Row(row, "", key) for row in rows)
    elif len(listed) == 1 and _OF_A_ROW.isdisjoint(key.casefold() for key in value.keys() - listed.keys()):
        yield from (_Row(row) for row in next(iter(listed.values())))
    else:
        yield _Row(value)


def _are_rows(value: object) -> bool:
    """A list of objects that are no parts of one row: neither turns of a conversation nor images."""
    if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
        return False
    return not all({"role", "from", "type"} & item.keys() or item.keys() <= {"bytes", "path", "url"} for item in value)


class _Decoder(json.JSONDecoder):
    """Also notes a key that stands twice."""

    def __init__(self) -> None:
        self.again = ""
        super().__init__(object_pairs_hook=self._object)

    def row(self, value: Any) -> _Row:
        """The decoded row, or the fault that was noted in it."""
        again, self.again = self.again, ""
        return _Row(None, f"the key {again} stands twice in one object") if again else _Row(value)

    def _object(self, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            self.again = shown(next(key for key in keys if keys.count(key) > 1))
        return found


class _Text:
    """A text that is read as far as the value at hand needs."""

    def __init__(self, handle: TextIO) -> None:
        self.handle, self.text, self.at, self.ended = handle, "", 0, False
        self.decoder = _Decoder()

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            found = _BLANK.match(self.text, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._fill()

    def take(self, wanted: str, where: str = "") -> None:
        """Steps over one character."""
        met = self.peek()
        if met != wanted:
            told = f"{shown(met)} instead of {wanted!r}" if met else "it ends in the middle"
            raise _NotJson(f"{told} {where}".strip())
        self.at += 1

    def value(self, most: int, where: str) -> _Row:
        """The next value, of at most `most` characters."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
                if self.ended or (end < len(self.text) and self.text[end] not in _OF_NUMBERS):
                    self.at = end
                    return self.decoder.row(value)
            except json.JSONDecodeError as problem:
                self.decoder.again = ""
                if self.ended:
                    raise _NotJson(f"{where}: {problem.msg}") from None
            except (ValueError, RecursionError) as problem:
                raise _NotJson(f"{where}: {_why(problem)}") from None
            if len(self.text) - self.at > most:
                raise _NotJson(f"{where} does not end within {most:,} characters")
            self._fill()

    def _fill(self) -> None:
        kept = self.text[self.at :]
        more = self.handle.read(max(_CHUNK, len(kept)))  # twice as much each time: a long row is not parsed too often
        if _NOT_UTF8.search(more):
            raise _NotJson("it is not UTF-8; it may be Windows-1252, Latin-1 or GBK: save it as UTF-8")
        self.text, self.at, self.ended = kept + more, 0, not more


def _why(problem: BaseException) -> str:
    return "nested too deeply" if isinstance(problem, RecursionError) else brief(str(problem), 100)
