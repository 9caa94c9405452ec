"""Rows out of files of any layout and encoding: read, or one line; a small file never takes much memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedpo.errors import DataError
from mmedpo.storage import json_rows
from mmedpo.storage.bounds import MOST_ROWS
from mmedpo.storage.rows import iterate_rows

ROWS = [{"q": "Is it big?", "a": "ja – nein"}, {"q": "\u80ba", "a": "\n\u2028"}]


def _read(path: Path) -> list[Any]:
    return [row.value if not row.fault else row.fault for row in iterate_rows(path, DataError, "rows")]


def _written(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def _line(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        _read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    return line


_LIST, _LINES = json.dumps(ROWS, ensure_ascii=False), "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
LAYOUTS = {
    "list": _LIST,
    "list over lines": json.dumps(ROWS, indent=1),
    "lines": _LINES,
    "lines, Windows": _LINES.replace("\n", "\r\n") + "\r\n\r\n",
    "objects over lines": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "wrapped": json.dumps({"data": ROWS}),
    "wrapped beside notes": json.dumps({"version": "1.0", "rows": ROWS, "info": {"by": "us"}}),
    "blank before it": " \r\n\t" + _LIST,
}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_json_layout_is_read_under_either_name_in_every_encoding(
    layout: str, encoding: str, suffix: str, tmp_path: Path
) -> None:
    if layout == "blank before it" and encoding in ("utf-16-le", "utf-16-be"):
        pytest.skip("a mark or an ASCII character tells the encoding; this begins with two blanks")
    assert _read(_written(tmp_path / f"rows{suffix}", LAYOUTS[layout], encoding)) == ROWS


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(rows=st.lists(_JSON, min_size=1, max_size=6), indent=st.none() | st.integers(0, 2), chunk=st.integers(1, 9))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_is_read_as_the_json_library_reads_it_whatever_the_chunks(
    rows: list[Any], indent: int | None, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(json_rows, "_CHUNK", chunk)
        assert _read(_written(tmp_path / "r.json", json.dumps(rows, indent=indent))) == rows


def test_files_that_were_put_together_keep_every_row(tmp_path: Path) -> None:
    mark = "\ufeff".encode()
    assert _read(_written(tmp_path / "r.jsonl", mark + b'{"a": 1}\n' + mark + b'{"a": 2}\n')) == [{"a": 1}, {"a": 2}]
    assert _read(_written(tmp_path / "r.csv", mark + mark + b"a,b\n1,2\n")) == [{"a": "1", "b": "2"}]
    assert _read(_written(tmp_path / "r.tsv", b"a,b\n1,2\n")) == [{"a": "1", "b": "2"}], "separators by content"
    assert "carriage return" in _line(_written(tmp_path / "mac.csv", b"a,b\r1,2\r"))


def test_one_bad_line_is_one_faulty_row(tmp_path: Path) -> None:
    content = (
        b'{"a": 1}\nnonsense\n{"a": "\xe9"}\n' + b"[" * 100_000 + b'\n{"a": ' + b"9" * 5000 + b'}\n{"a": 2}\n[3]\n'
    )
    found = _read(_written(tmp_path / "r.jsonl", content))
    assert [found[0], found[5], found[6]] == [{"a": 1}, {"a": 2}, [3]]
    assert "not JSON" in found[1]
    assert "not UTF-8" in found[2]
    assert "nested too deeply" in found[3]
    assert all(len(fault) < 200 for fault in found[1:5])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ('[{"a": 1, "a": 2}, {"a": 3}]', "'a' stands twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 1}}, {"a": 3}]', "'c' stands twice"),
        ('{"b": [{"c": 1, "c": 2}]}\n{"a": 3}', "'c' stands twice"),
    ],
)
def test_a_key_that_stands_twice_makes_the_row_a_faulty_one(content: str, fault: str, tmp_path: Path) -> None:
    for suffix in (".json", ".jsonl"):
        found = _read(_written(tmp_path / f"r{suffix}", content))
        assert fault in found[0]
        assert found[1] == {"a": 3}


def test_lists_named_as_splits_tell_the_split_and_turns_are_no_rows(tmp_path: Path) -> None:
    path = _written(tmp_path / "r.json", json.dumps({"train": [{"a": 1}], "val": [{"a": 2}, {"a": 3}]}))
    assert [(row.value["a"], row.group) for row in iterate_rows(path, DataError, "r")] == [
        (1, "train"),
        (2, "val"),
        (3, "val"),
    ]
    one = {"image": "a", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    typed = {"messages": [{"role": "user", "content": "q"}], "images": [{"bytes": None, "path": "a"}]}
    boxed = {"image": "a.png", "question": "Q?", "answer": "yes", "boxes": [{"x": 1}, {"x": 2}]}
    for row in (one, typed, boxed):
        assert _read(_written(tmp_path / "one.json", json.dumps(row))) == [row]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.json", "[{}, {", "row 1"),
        ("r.json", "[{}] x", "more behind the list of 1 rows"),
        ("r.json", "[{} {}]", "after row 0"),
        ("r.json", "null", "begins with 'null'"),
        ("r.json", "[]", "an empty list"),
        ("r.json", b'[{"a": "\xe9"}]', "not UTF-8"),
        ("r.json", "[" * 100_000, "nested too deeply"),
        ("r.json", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        ("r.jsonl", b"\x1f\x8b\x08", "unpack it"),
        ("r.csv", b"PK\x03\x04xl/workbook", "the suffix .xlsx"),
        ("r.json", b"<!DOCTYPE html><html>", "web page"),
        ("r.json", b"PAR1xxxx", "suffix .parquet"),
        ("r.csv", b"a,b\n\xe9t\xe9,2\n", "not UTF-8"),
        ("r.csv", "a,a\n1,2\n", "the column 'a' twice"),
        ("r.csv", 'a,b\n"1', "not a readable table|twice|holds"),
        ("r.parquet", b"PAR1" + b"\0" * 40, "not a readable table"),
        ("r.arrow", b"\xff\xff\xff\xff\xf0\xff\xff\x7f", "not a readable table"),
        ("r.pkl", b"\x80\x04", "readable are .json"),
    ],
)
def test_what_is_no_such_file_is_one_short_line(name: str, content: Any, words: str, tmp_path: Path) -> None:
    path = _written(tmp_path / name, content)
    if words.startswith("not a readable table|"):  # an open quote is closed by the end of the file
        assert _read(path) == [{"a": "1"}]
    else:
        assert words in _line(path)


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("r.csv", "a,b\r\n1,x y\r\n", "utf-8-sig"),
        ("r.csv", "a;b\r\n1;x y\r\n", "utf-8"),
        ("r.csv", "sep=;\r\na;b\r\n1;x y\r\n", "utf-8"),
        ("r.csv", "a\tb\n1\tx y\n", "utf-16"),
        ("r.csv", "a|b\n1|x y", "utf-8"),
        ("r.tsv", "a\tb\n1\tx y\n", "utf-16-le"),
        ("r.tsv", 'a\tb\n1\t"x y"\n\n', "utf-8"),
    ],
)
def test_spreadsheets_of_any_country_are_read(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    assert _read(_written(tmp_path / name, content, encoding)) == [{"a": "1", "b": "x y"}]


def test_a_row_with_more_cells_than_names_is_a_faulty_one(tmp_path: Path) -> None:
    found = _read(_written(tmp_path / "r.csv", "a,b\n1,2,3\n4\n5,6,\n"))
    assert found == ["3 cells under 2 names of columns", {"a": "4"}, {"a": "5", "b": "6"}]


# A small file that spells a large one.


def _peak(path: Path) -> tuple[str, float, float]:
    tracemalloc.start()
    started, before = time.monotonic(), pa.total_allocated_bytes()
    try:
        held = sum(len(str(row.value)) for row in iterate_rows(path, DataError, "rows"))
        line = f"read {held}"
    except DataError as error:
        line = str(error)
    peak = tracemalloc.get_traced_memory()[1] + pa.total_allocated_bytes() - before
    tracemalloc.stop()
    return line, peak / 2**20, time.monotonic() - started


def _one_text_in_many_rows(path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 64), pa.array([" " * (20 << 20)]))
    table = pa.table({"prompt": text, "chosen": ["a"] * 64})
    pq.write_table(table, path, compression="zstd", write_statistics=False)


def _many_equal_rows(path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1] * (MOST_ROWS + 1), pa.int8())}), path, row_group_size=1 << 22)


def _many_values_in_one_row(path: Path) -> None:
    values = pa.array([0] * 40_000_000, pa.int8())
    pq.write_table(pa.table({"a": pa.ListArray.from_arrays([0, len(values)], values)}), path, compression="zstd")


def _one_large_text(path: Path) -> None:
    pq.write_table(pa.table({"a": [" " * (160 << 20)]}), path, compression="zstd")


def _arrow(path: Path, table: pa.Table, compression: str | None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=options) as out:
        out.write_table(table)


def _compressed_stream(path: Path) -> None:
    _arrow(path, pa.table({"a": [" " * (160 << 20)]}), "zstd")


def _rows_without_bytes(path: Path) -> None:
    _arrow(path, pa.table({"a": pa.nulls(MOST_ROWS + 1)}), None)


BOMBS = {
    "one text in many rows": (_one_text_in_many_rows, "b.parquet"),
    "many equal rows": (_many_equal_rows, "b.parquet"),
    "many values in one row": (_many_values_in_one_row, "b.parquet"),
    "one large text": (_one_large_text, "b.parquet"),
    "compressed stream": (_compressed_stream, "b.arrow"),
    "rows without bytes": (_rows_without_bytes, "b.arrow"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_that_spells_a_large_one_is_refused(bomb: str, tmp_path: Path) -> None:
    write, name = BOMBS[bomb]
    write(tmp_path / name)
    assert (tmp_path / name).stat().st_size < 200_000
    line, megabytes, seconds = _peak(tmp_path / name)
    assert not line.startswith("read")
    assert "allowed are" in line or "more than" in line
    assert len(line) < 400
    assert megabytes < 400
    assert seconds < 20


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
def test_honest_tables_are_read_as_arrow_reads_them(suffix: str, compression: str | None, tmp_path: Path) -> None:
    turns = [
        [{"role": "user", "content": f"question {n}" * 9}, {"role": "assistant", "content": None}] for n in range(300)
    ]
    table = pa.table(
        {
            "turns": turns,
            "image": [{"bytes": bytes([n % 256]) * 2000, "path": None} for n in range(300)],
            "score": [n / 300 for n in range(300)],
            "names": [["a.png"] * (n % 3) for n in range(300)],
            "label": pa.array(["yes", "no", None] * 100).dictionary_encode(),
        }
    )
    path = tmp_path / f"t{suffix}"
    if suffix == ".arrow":
        _arrow(path, table, compression)
    else:
        pq.write_table(table, path, compression=compression or "none", row_group_size=70)
    assert _read(path) == table.to_pylist()
