"""Workbooks are read as their first sheet saved as CSV; one that would fill the memory is one short line."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mmedpo.data.tabular import table_files
from mmedpo.errors import DataError
from mmedpo.storage import bounds
from mmedpo.storage.rows import iterate_rows

WORKBOOK = (
    '<workbook xmlns:r="u"><sheets><sheet name="B" r:id="rId2"/><sheet name="A" r:id="rId1"/></sheets></workbook>'
)
LINKS = (
    '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/>'
    '<Relationship Id="rId2" Target="worksheets/sheet2.xml"/></Relationships>'
)
HEADER = '<row r="1"><c r="A1" t="inlineStr"><is><t>q</t></is></c><c r="C1" t="str"><v>a</v></c></row>'


def workbook(path: Path, rows: str, strings: str = "", method: int = zipfile.ZIP_DEFLATED, **parts: str) -> Path:
    """A workbook whose first sheet, by its own order, holds these rows of XML."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("xl/workbook.xml", parts.get("workbook", WORKBOOK))
        archive.writestr("xl/_rels/workbook.xml.rels", parts.get("links", LINKS))
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet><sheetData/></worksheet>")
        sheet = f"{parts.get('head', '')}<worksheet><sheetData>{rows}</sheetData></worksheet>"
        archive.writestr("xl/worksheets/sheet2.xml", sheet)
        if strings:
            archive.writestr("xl/sharedStrings.xml", f"<sst>{strings}</sst>")
    return path


def read(path: Path) -> list[Any]:
    return [row.fault or row.value for row in iterate_rows(path, DataError, "rows")]


def line(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 600
    return told


def cell(at: str, value: str, kind: str = "n") -> str:
    return f'<c r="{at}" t="{kind}"><v>{value}</v></c>'


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (cell("A2", "7") + cell("C2", "0.10000000000000001"), {"q": "7", "a": "0.1"}),
        (cell("A2", "1E3") + cell("C2", "1", "b"), {"q": "1000", "a": "TRUE"}),
        (cell("A2", "1", "s") + cell("C2", "0", "s"), {"q": "pulmonary oedema", "a": "a\rb &<"}),
        (cell("C2", "x_x0041_", "str"), {"a": "xA"}),
        (cell("B2", "nameless") + cell("C2", "x", "str"), {"a": "x"}),
        ("<c><v>1</v></c><c/><c><v>2</v></c>", {"q": "1", "a": "2"}),
        ('<c r="A2"><f>1+1</f><v>2</v></c>', {"q": "2"}),
        ('<c r="A2"><f>1+1</f><v></v></c>', "cell A2 holds a formula without its value"),
        (cell("C2", "#N/A", "e"), "cell C2 holds the error '#N/A'"),
        (cell("D2", "1"), "4 cells under 3 names of columns"),
    ],
)
def test_cells_are_read_as_a_csv_would_hold_them(cells: str, value: Any, tmp_path: Path) -> None:
    strings = (
        "<si><t>a_x000D_b &amp;&lt;</t></si>"
        "<si><r><t>pulmonary</t></r><r><t> oedema</t></r><rPh><t>spoken</t></rPh></si>"
    )
    path = workbook(tmp_path / "a.xlsx", f'{HEADER}<row r="2">{cells}</row><row/><row r="9"><c r="A9"/></row>', strings)
    assert read(path) == [value]


def test_other_spellings_of_the_standard_are_read(tmp_path: Path) -> None:
    """Prefixes before every element, and targets from the root of the archive."""
    book = WORKBOOK.replace("<", "<x:").replace("<x:/", "</x:").replace("xmlns:r", 'xmlns:x="v" xmlns:r')
    links = LINKS.replace("worksheets/", "/xl/worksheets/")
    path = workbook(tmp_path / "a.XLSX", f"{HEADER}<row>{cell('A2', '1')}</row>", workbook=book, links=links)
    assert read(path) == [{"q": "1"}]


BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: workbook(p, HEADER, head=BOMB), "DTDForbidden"),
        (lambda p: workbook(p, HEADER, head=OUTSIDE), "DTDForbidden"),
        (lambda p: workbook(p, "<a>" * 1000), "nested too deeply"),
        (lambda p: workbook(p, HEADER, method=zipfile.ZIP_BZIP2), "compressed by method 12"),
        (lambda p: workbook(p, f"{HEADER}<row>"), "not a readable workbook"),
        (lambda p: workbook(p, f"{HEADER}<row>{cell('A2', '3', 's')}</row>"), "shared text '3' of 0"),
        (lambda p: workbook(p, f"{HEADER}<row>{cell('2', '3')}</row>"), "a cell is called '2'"),
        (lambda p: workbook(p, f"{HEADER}<row>{cell('ZZZ2', '3')}</row>"), "beyond the last column"),
        (lambda p: workbook(p, HEADER.replace("<v>a", "<v>q")), "names the column 'q' twice"),
        (lambda p: workbook(p, HEADER, links="<a/>"), "it has no part 'xl'"),
        (lambda p: workbook(p, HEADER, workbook="<a/>"), "it has no sheet"),
        (lambda p: p.write_bytes(b"q,a\n1,2\n"), "is no workbook"),
        (lambda p: p.write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600)), "old or encrypted Excel workbook"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(60)), "is no workbook"),
    ],
)
def test_what_is_no_workbook_is_one_short_line(make: Callable[[Path], Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    make(path)
    assert words in line(path)


@pytest.mark.parametrize("damage", [30, 200, 400, 600])
def test_a_cut_or_damaged_workbook_is_one_short_line(damage: int, tmp_path: Path) -> None:
    whole = workbook(tmp_path / "a.xlsx", HEADER + "".join(f"<row>{cell('A2', str(n))}</row>" for n in range(300)))
    content = bytearray(whole.read_bytes())
    cut = tmp_path / "cut.xlsx"
    cut.write_bytes(content[:damage])
    assert "workbook" in line(cut)
    content[damage : damage + 8] = b"\xff" * 8
    whole.write_bytes(content)
    with suppress(DataError):
        read(whole)


def rows_that_share(path: Path) -> Path:
    """One long text, named by 1,000 cells."""
    rows = "".join(f"<row>{cell('A2', '0', 's')}</row>" for _ in range(1_000))
    return workbook(path, HEADER + rows, f"<si><t>{'long ' * 2000}</t></si>")


@pytest.mark.parametrize(
    "make",
    [
        lambda p: workbook(p, HEADER + "<row><c><v>1</v></c></row>" * 100_000),
        lambda p: workbook(p, HEADER, "<si/>" * 100_000),
        rows_that_share,
    ],
)
def test_a_small_workbook_never_takes_much_memory(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With bounds a hundred times smaller than those of the product."""
    monkeypatch.setattr(bounds, "MOST_DECODED", bounds.MEGABYTE)
    path = make(tmp_path / "a.xlsx")
    assert path.stat().st_size < 20_000
    tracemalloc.start()
    with pytest.raises(DataError, match="expands to more than"):
        for _ in iterate_rows(path, DataError, "rows"):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * bounds.MEGABYTE


def test_a_workbook_beside_other_tables_is_not_taken_for_data(tmp_path: Path) -> None:
    workbook(tmp_path / "codes.xlsx", HEADER)
    assert [file.name for file in table_files(tmp_path, "")] == ["codes.xlsx"]
    (tmp_path / "data.csv").write_text("q,a\n1,2\n")
    assert [file.name for file in table_files(tmp_path, "")] == ["data.csv"]
    assert [file.name for file in table_files(tmp_path, "codes.xlsx")] == ["codes.xlsx"]
