"""Rows of an Excel workbook (.xlsx), as its first sheet saved as CSV would hold them.

A workbook is a zip archive of XML parts (ECMA-376). Nothing is unpacked: each part is parsed as it inflates, by a
parser that knows no entities and no documents outside, and what it inflates to is counted. Formulas are not computed.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

from mmedpo.errors import MMedPOError, brief, shown
from mmedpo.storage.bounds import LONGEST_ROW, Expansion
from mmedpo.storage.delimited import check_names
from mmedpo.storage.raw import RawRow
from mmedpo.storage.text import foreign

SUFFIX = ".xlsx"
"""Of the files that are read."""

_PIECE = 1 << 18
"""Bytes of a part that are inflated and parsed at once."""
_DEEPEST = 64
"""Elements inside one another; a sheet has about eight."""
_OVERHEAD = 64
"""Bytes that Python adds to a short text, so that many empty ones are counted too."""
_MOST_COLUMNS = 16_384
"""Columns of a sheet, by the standard."""
_ESCAPED = re.compile(r"_x((?![Dd][89A-Fa-f])[0-9A-Fa-f]{4})_")
"""One sign, by its number; halves of a sign are none."""
_REFERENCE = re.compile(r"([A-Z]{1,3})[0-9]+")


class _NoWorkbook(Exception):
    """Why the file is none."""


def workbook_rows(path: Path, error: type[MMedPOError], what: str) -> Iterator[RawRow]:
    """The rows of the first sheet under the names of its first row; empty cells and empty rows are left out.

    Numbers are spelled as Python spells them (dates are numbers in a workbook), truth values as TRUE and FALSE. A row
    is a faulty one where it holds an error (#N/A), a formula without its value, or cells beyond the names.

    Args:
        path: the file.
        error: raised, with one clear line, when the file as a whole cannot be read.
        what: what the rows are.
    """
    try:
        with path.open("rb") as packed, zipfile.ZipFile(packed) as archive:
            yield from _rows(_Parts(archive, path, error), path, error, what)
    except zipfile.BadZipFile as problem:
        with path.open("rb") as handle:
            known = foreign(handle.read(512))
        met = brief(str(problem), 100)
        raise error(
            f"{path} is {known}" if known and "zip" not in known else f"{path} is no workbook ({met})"
        ) from None
    except (_NoWorkbook, SAXException, ValueError, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
        met = brief(str(problem) or type(problem).__name__, 100)
        raise error(f"{path} is not a readable workbook ({met}); save the sheet as CSV (UTF-8)") from None


def _rows(parts: _Parts, path: Path, error: type[MMedPOError], what: str) -> Iterator[RawRow]:
    strings = _Strings(parts)
    folder = "xl"
    if f"{folder}/sharedStrings.xml" in parts.names:
        for _ in parts.parse(f"{folder}/sharedStrings.xml", strings):
            pass
    sheet, names, number = _Sheet(strings.found), None, 0
    for share in parts.parse(_first_sheet(parts), sheet):
        for cells, fault in sheet.taken():
            if names is None:
                if not cells:
                    continue
                names = {column: cells[column].strip() for column in sorted(cells)}
                check_names(list(names.values()), path, error, what)
                continue
            parts.held.add(sum(_OVERHEAD + len(cell) for cell in cells.values()))
            if not fault and max(cells, default=0) > max(names):
                fault = f"{max(cells) + 1} cells under {max(names) + 1} names of columns"
            value = {name: cells[column] for column, name in names.items() if name and column in cells}
            columns = tuple(filter(None, names.values()))
            yield RawRow(number, None if fault else value, fault, "", min(1.0, share), columns)
            number += 1


class _Parts:
    """The parts of one workbook, by name; all they inflate to is counted."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, error: type[MMedPOError]) -> None:
        self.archive, self.names = archive, frozenset(archive.namelist())
        size = path.stat().st_size
        self.inflated, self.held = Expansion(size, str(path), error), Expansion(size, str(path), error)

    def parse(self, name: str, handler: _Handler) -> Iterator[float]:
        """Feeds a part to its handler piece by piece; the share that was read, after each.

        Raises:
            _NoWorkbook: there is no such part, or it is packed as no workbook is.
        """
        from defusedxml.expatreader import create_parser

        if name not in self.names:
            raise _NoWorkbook(f"it has no part {shown(name)}")
        info = self.archive.getinfo(name)
        # Of other methods zipfile inflates as much at once as there is.
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _NoWorkbook(f"{shown(name)} is compressed by method {info.compress_type}")
        parser, read = create_parser(forbid_dtd=True), 0
        parser.setContentHandler(handler)
        with self.archive.open(info) as handle:
            while piece := handle.read(_PIECE):
                self.inflated.add(len(piece), rows=0)
                parser.feed(piece)
                read += len(piece)
                yield read / max(1, info.file_size)
        parser.close()


class _Handler(ContentHandler):
    """Elements by their names without prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        """Goes one element deeper."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _NoWorkbook("it is nested too deeply")
        self.begin(_local(name), dict(attrs.items()))

    def endElement(self, name: str) -> None:
        """And back."""
        self.depth -= 1
        self.end(_local(name))

    def begin(self, name: str, attrs: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""


class _Elements(_Handler):
    """The attributes of every element of one name, without prefixes."""

    def __init__(self, wanted: str) -> None:
        super().__init__()
        self.wanted, self.found = wanted, list[dict[str, str]]()

    def begin(self, name: str, attrs: Mapping[str, str]) -> None:
        """Keeps those that are wanted."""
        if name == self.wanted:
            self.found.append(dict(attrs))


class _Texts(_Handler):
    """Gathers the text of some elements; what stands in `rPh` (how a word is spoken) is none of it."""

    gathered: frozenset[str] = frozenset({"t"})

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.gathering = self.spoken = False

    def begin(self, name: str, attrs: Mapping[str, str]) -> None:
        """Text begins to count."""
        self.spoken = self.spoken or name == "rPh"
        self.gathering = name in self.gathered and not self.spoken

    def end(self, name: str) -> None:
        """And counts no more."""
        self.gathering = False
        self.spoken = self.spoken and name != "rPh"

    def characters(self, content: str) -> None:
        """Text, perhaps in pieces."""
        if self.gathering:
            self.text.append(content)

    def take(self) -> str:
        """What was gathered since it was last taken."""
        text, self.text = "".join(self.text), []
        return text


class _Strings(_Texts):
    """The texts that cells share, in order."""

    def __init__(self, parts: _Parts) -> None:
        super().__init__()
        self.parts, self.found = parts, list[str]()

    def end(self, name: str) -> None:
        """One text is whole."""
        super().end(name)
        if name == "si":
            text = _unescaped(self.take())
            self.parts.held.add(_OVERHEAD + len(text), rows=0)
            self.found.append(text)


class _Sheet(_Texts):
    """Rows of cells, by column."""

    gathered = frozenset({"t", "v"})

    def __init__(self, strings: list[str]) -> None:
        super().__init__()
        self.strings = strings
        self.rows: list[tuple[dict[int, str], str]] = []
        self.cells: dict[int, str] = {}
        self.fault, self.kind, self.at, self.column, self.formula = "", "", "", -1, False

    def taken(self) -> list[tuple[dict[int, str], str]]:
        """The rows since they were last taken, those without a cell left out, each with its fault."""
        rows, self.rows = self.rows, []
        return rows

    def begin(self, name: str, attrs: Mapping[str, str]) -> None:
        """A row, a cell, or something inside one."""
        super().begin(name, attrs)
        if name == "row":
            self.cells, self.fault, self.column = {}, "", -1
        elif name == "c":
            self.at, self.kind, self.formula = attrs.get("r", ""), attrs.get("t", "n"), False
            self.column = _column(self.at) if self.at else self.column + 1
            self.take()
        elif name == "f":
            self.formula = True

    def end(self, name: str) -> None:
        """A cell is whole, or a row."""
        super().end(name)
        if name == "c":
            text = self._value(self.take())
            if text:
                self.cells[self.column] = text
        elif name == "row":
            if sum(map(len, self.cells.values())) > LONGEST_ROW:
                self.cells, self.fault = {}, f"a row of more than {LONGEST_ROW:,} characters"
            if self.cells or self.fault:
                self.rows.append((self.cells, self.fault))

    def _value(self, text: str) -> str:
        where = f"cell {self.at}" if self.at else f"the cell of column {self.column + 1}"
        if self.kind == "e":
            self.fault = self.fault or f"{where} holds the error {shown(text)}"
        elif self.formula and not text:
            self.fault = self.fault or f"{where} holds a formula without its value"
        if self.kind == "s":
            index = int(text) if text.isdecimal() and len(text) < 12 else -1
            if not 0 <= index < len(self.strings):
                raise _NoWorkbook(f"{where} names the shared text {shown(text)} of {len(self.strings)}")
            return self.strings[index]
        if self.kind == "b":
            return {"1": "TRUE", "0": "FALSE"}.get(text.strip(), text)
        return _number(text) if self.kind == "n" else _unescaped(text)


def _first_sheet(parts: _Parts) -> str:
    """Name of the part of the workbook's first sheet.

    Raises:
        _NoWorkbook: it names none.
    """
    sheets, links = _Elements("sheet"), _Elements("Relationship")
    for name, handler in (("xl/workbook.xml", sheets), ("xl/_rels/workbook.xml.rels", links)):
        for _ in parts.parse(name, handler):
            pass
    if not sheets.found:
        raise _NoWorkbook("it has no sheet")
    wanted = next((value for key, value in sheets.found[0].items() if _local(key) == "id"), "")
    target = next((link.get("Target", "") for link in links.found if link.get("Id") == wanted), "")
    return target[1:] if target.startswith("/") else str(PurePosixPath("xl") / target)


def _column(reference: str) -> int:
    """Position of a cell in its row, from 0: that of B3 is 1."""
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise _NoWorkbook(f"a cell is called {shown(reference)}")
    position = 0
    for letter in found[1]:
        position = 26 * position + ord(letter) - ord("A") + 1
    if position > _MOST_COLUMNS:
        raise _NoWorkbook(f"a cell is called {shown(reference)}, beyond the last column")
    return position - 1


def _number(text: str) -> str:
    """17 digits as the shortest number that is the same, whole ones without a point; what is no number as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def _unescaped(text: str) -> str:
    """`_x000D_` is how a workbook spells signs that XML cannot."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _local(name: str) -> str:
    return name.rpartition(":")[2]
