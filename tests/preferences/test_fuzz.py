"""Mutated files never hang an importer, never end in a traceback, never write outside the given folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmedpo.errors import MMedPOError
from mmedpo.imaging.index import index_images
from mmedpo.preferences.pairs import join_rows, read_pairs
from mmedpo.preferences.reading import read_rows
from mmedpo.preferences.writing import export_rows
from preferences.rows import preference_row
from preferences.test_formats import NATIVE, TARGETS

SLOW: dict[str, Any] = {"deadline": 5000, "suppress_health_check": list(HealthCheck)}
HOSTILE = ("../../escape.png", "/etc/passwd", "a\0.png", "..", "images/../../x", "\ud800", "a" * 5000, "C:\\x", "")


def _tree(folder: Path) -> set[str]:
    return {os.path.relpath(path, folder) for path in folder.rglob("*")}


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    folder = tmp_path / "outer" / "inner"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(folder / "a.png")
    return folder


def _survives(path: Path, folder: Path, format_name: str = "") -> None:
    """Everything the command line does with a file; only errors of ours may come out, on one line."""
    outside = _tree(folder.parent.parent) - {p for p in _tree(folder.parent.parent) if "inner" in p}
    try:
        reading = read_rows(path, format_name, folder, extract=folder)
        names = [name for row in reading.rows for name in (*row.images, *row.rejected_images)]
        index = index_images(folder, names, workers=1)
        join_rows(reading.rows, index.images, ())
        export_rows(reading.rows, folder / "out.parquet", "mmedpo", folder)
        export_rows(reading.rows, folder / "out.json", "mmedpo-json", folder)
    except MMedPOError as error:
        assert "\n" not in str(error)  # noqa: PT017
    try:
        read_pairs(path, folder, format_name=format_name)
    except MMedPOError as error:
        assert "\n" not in str(error)  # noqa: PT017
    after = _tree(folder.parent.parent)
    assert after - {p for p in after if "inner" in p} == outside, "something was written outside the folder"


def _anything() -> st.SearchStrategy[Any]:
    leaf = (
        st.none()
        | st.booleans()
        | st.integers(-(10**30), 10**30)
        | st.floats()
        | st.text(max_size=12)
        | st.sampled_from(HOSTILE)
        | st.sampled_from(["<image>", "<image><image>", "human", "gpt", "user", "assistant", "image", "text"])
    )
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    )


def _mutate(draw: st.DrawFn, value: Any) -> Any:
    """One place of a JSON value replaced, removed or doubled."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(sorted(value)))
        changed = dict(value)
        if draw(st.integers(0, 5)) == 0:
            del changed[key]
        else:
            changed[key] = _mutate(draw, value[key])
        return changed
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        index = draw(st.integers(0, len(value) - 1))
        changed = list(value)
        if draw(st.integers(0, 5)) == 0:
            changed.insert(index, changed[index])
        else:
            changed[index] = _mutate(draw, value[index])
        return changed
    return draw(_anything())


@st.composite
def _mutated_rows(draw: st.DrawFn) -> list[Any]:
    rows: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        row: Any = json.loads(json.dumps(NATIVE[draw(st.sampled_from(sorted(NATIVE)))][1]))
        if draw(st.booleans()):
            row["mmedpo"] = {"row_id": "../x", "score": 0.5, "image_paths": [draw(st.sampled_from(HOSTILE))]}
        for _ in range(draw(st.integers(1, 3))):
            row = _mutate(draw, row)
        rows.append(row)
    return rows


@given(rows=_mutated_rows(), lines=st.booleans(), name=st.sampled_from(["", *TARGETS]))
@settings(max_examples=40, **SLOW)
def test_mutated_rows(rows: list[Any], lines: bool, name: str, inside: Path) -> None:
    path = inside / ("p.jsonl" if lines else "p.json")
    path.write_text("\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows))
    _survives(path, inside, name)


@given(st.data())
@settings(max_examples=50, **SLOW)
@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_mutated_bytes_of_text_files(suffix: str, inside: Path, data: st.DataObject) -> None:
    rows = [NATIVE[name][1] for name in ("MMedPO", "benchmark")]
    good = json.dumps(rows).encode() if suffix == ".json" else b"\n".join(json.dumps(row).encode() for row in rows)
    path = inside / f"p{suffix}"
    path.write_bytes(_damaged(good, data))
    _survives(path, inside)


@given(st.data())
@settings(max_examples=40, **SLOW)
@pytest.mark.parametrize("target", ["mmedpo", "trl", "rlhf-v"])
def test_mutated_bytes_of_tables(target: str, inside: Path, data: st.DataObject) -> None:
    path = inside / "p.parquet"
    export_rows([preference_row(n) for n in range(3)], path, target, inside)
    path.write_bytes(_damaged(path.read_bytes(), data))
    _survives(path, inside)


def _damaged(good: bytes, data: st.DataObject) -> bytes:
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, max(0, len(content) - 1)))
        kind = data.draw(st.integers(0, 3))
        if kind == 0:
            content[start:start] = data.draw(st.binary(max_size=8))
        elif kind == 1:
            del content[start : start + data.draw(st.integers(1, 40))]
        elif kind == 2 and content:
            content[start] ^= 1 << data.draw(st.integers(0, 7))
        else:
            content = content[:start]
    return bytes(content)


def test_deep_nesting_and_huge_numbers(inside: Path) -> None:
    for content in ("[" * 100_000, '[{"a":' * 50_000, "[" + "1" * 100_000 + "]", '[{"rejected_conversations": 1e999}]'):
        path = inside / "p.json"
        path.write_text(content)
        _survives(path, inside)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_image_names_are_missing_images(name: str, inside: Path) -> None:
    raw = {**NATIVE["MMedPO"][1], "image": name}
    path = inside / "p.json"
    path.write_text(json.dumps([raw, NATIVE["MMedPO"][1]]))
    imported = read_pairs(path, inside)
    assert len(imported.pairs) == 1
    assert [drop.reason for drop in imported.drops] in (["unreadable-image"], ["malformed-row"])
