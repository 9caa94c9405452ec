"""Writes an Excel workbook of one sheet, every cell a text: the counterpart of `workbook`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from mmedpo.errors import MMedPOError, shown
from mmedpo.storage.tables import atomic_path

LONGEST_CELL = 32_767
"""UTF-16 units of one cell; Excel calls a workbook with a longer one damaged."""
_MOST_ROWS = 1_048_576

_TOP = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org"
_MIME = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_OFFICE}/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_MIME}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_MIME}.worksheet+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook xmlns="{_OFFICE}/spreadsheetml/2006/main" '
    f'xmlns:r="{_OFFICE}/officeDocument/2006/relationships">'
    '<sheets><sheet name="Sheet1" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_OFFICE}/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument/2006/relationships/worksheet" '
    'Target="worksheets/sheet1.xml"/></Relationships>',
}
_UNSPELLABLE = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
"""What XML cannot hold or reads as another sign, and what would be read as such an escape."""
_WHEN = (1980, 1, 1, 0, 0, 0)
"""The same answers are the same bytes."""


def write_workbook(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]], error: type[MMedPOError]) -> None:
    """Writes a header and rows of texts, atomically.

    Raises:
        MMedPOError: (`error`) a text or a table longer than a sheet holds.
    """
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _PARTS.items():
            archive.writestr(_entry(name), _TOP + content)
        with archive.open(_entry("xl/worksheets/sheet1.xml"), "w", force_zip64=True) as sheet:
            sheet.write(f'{_TOP}<worksheet xmlns="{_OFFICE}/spreadsheetml/2006/main"><sheetData>'.encode())
            for number, row in enumerate([columns, *rows]):
                if number >= _MOST_ROWS:
                    raise error(f"a sheet holds {_MOST_ROWS:,} rows, {path.name} would have more; write another format")
                sheet.write(f"<row>{''.join(_cell(text, path, error) for text in row)}</row>".encode())
            sheet.write(b"</sheetData></worksheet>")


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _WHEN)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _cell(text: str, path: Path, error: type[MMedPOError]) -> str:
    if not text:
        return "<c/>"
    if len(text.encode("utf-16-le")) > 2 * LONGEST_CELL:
        raise error(
            f"a cell of a workbook holds {LONGEST_CELL:,} characters, {shown(text)} of {path.name} has {len(text):,}; "
            "write another format"
        )
    spelled = _UNSPELLABLE.sub(lambda found: f"_x{ord(found[0]):04X}_", text)
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(spelled)}</t></is></c>'
