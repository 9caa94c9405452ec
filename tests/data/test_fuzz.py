"""Mutated tables never end a reader in a traceback, never hang it, and are never answered by a long message."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data.layouts import encoded, write_image
from mmedpo.data.dataset import DatasetSettings
from mmedpo.errors import MMedPOError
from mmedpo.registry import lookup

_B64 = base64.b64encode(encoded(1)).decode()
_HOSTILE = (
    "../../escape.png",
    "/etc/passwd",
    "a\0.png",
    "\ud800",
    "a" * 5000,
    "C:\\x\\y.png",
    "",
    _B64,
    _B64[:-7],
    "a.png",
)
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "table": ("table", {"image": "a.png", "question": "Q?", "answer": "yes", "split": "train", "choices": "yes;no"}),
    "list": ("table", {"image": ["a.png"], "question": "Q?", "answer": "B", "A": "x", "B": "y", "id": 3}),
    "inside": ("table", {"image": {"bytes": _B64, "path": None}, "question": "Q?", "answer": "x", "patient_id": "p"}),
    "llava-med": (
        "llava-med",
        {"question_id": 1, "image": "a.png", "text": "Q?", "gpt4_answer": "no", "split": "test"},
    ),
    "conversations": (
        "llava-med",
        {"id": 1, "image": "a.png", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
    ),
    "slake": ("slake", {"qid": 1, "img_name": "a.png", "question": "Q?", "answer": "Yes", "q_lang": "en"}),
    "path-vqa": ("path-vqa", {"image": "a.png", "question": "Q?", "answer": "yes"}),
    "vqa-rad": (
        "vqa-rad",
        {
            "qid": 1,
            "phrase_type": "para",
            "image_name": "a.png",
            "question": "Q?",
            "answer": "A",
            "answer_type": "OPEN",
        },
    ),
}
_FILES = {
    "slake": ("train.json", "validate.json", "test.json"),
    "path-vqa": ("train_qa.json",),
    "vqa-rad": ("VQA_RAD Dataset Public.json",),
}
_LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(_HOSTILE)
    | st.sampled_from(
        ["<image>", "test", "val", "A", "human", "gpt", "data:image/png;base64,xx", "https://x.org/a.png"]
    )
)
_ANY = st.recursive(
    _LEAF, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=6), x, max_size=3), max_leaves=6
)


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[str, str, list[Any]]:
    kind = draw(st.sampled_from(sorted(ROWS)))
    name, good = ROWS[kind]
    rows: list[Any] = []
    for _ in range(draw(st.integers(1, 4))):
        row: Any = json.loads(json.dumps(good))
        for _ in range(draw(st.integers(0, 3))):
            key = draw(st.sampled_from(sorted(row)) | st.text(max_size=5))
            row[key] = draw(_ANY)
        rows.append(draw(_ANY) if draw(st.integers(0, 9)) == 0 else row)
    return kind, name, rows


def _spelled(rows: list[Any], layout: str) -> bytes:
    if layout == "lines":
        text = "\n".join(json.dumps(row) for row in rows)
    elif layout == "wrapped":
        text = json.dumps({"train": rows[:2], "test": rows[2:]})
    else:
        text = json.dumps(rows)
    return text.encode("utf-16" if layout == "utf-16" else "utf-8")


def _survives(name: str, root: Path) -> None:
    before = sorted(path.relative_to(root.parent) for path in root.parent.rglob("*"))
    try:
        reading = lookup("dataset", name)().read(root, DatasetSettings(fractions=(1, 0, 0), min_usable=0))
        assert all(len(drop.detail) < 8000 for drop in reading.drops)
    except MMedPOError as error:
        assert "\n" not in str(error)  # noqa: PT017
        assert len(str(error)) < 8000  # noqa: PT017
    assert sorted(path.relative_to(root.parent) for path in root.parent.rglob("*")) == before


@given(
    drawn=_mutated(),
    layout=st.sampled_from(["list", "lines", "wrapped", "utf-16"]),
    cut=st.none() | st.integers(0, 400),
)
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_rows_of_every_reader(drawn: Any, layout: str, cut: int | None, tmp_path_factory: Any) -> None:
    _, name, rows = drawn
    root = tmp_path_factory.mktemp("fuzz") / "inner"
    write_image(root / "images" / "a.png", 1)
    write_image(root / "a.png", 1)
    suffix = "jsonl" if layout == "lines" else "json"
    for file in _FILES.get(name, (f"q.{suffix}",)):
        (root / file).write_bytes(_spelled(rows, layout)[:cut])
    _survives(name, root)


@given(
    rows=st.lists(st.lists(_LEAF.map(str), max_size=5), max_size=5),
    delimiter=st.sampled_from(",;\t|"),
    cut=st.integers(0, 60),
)
@settings(max_examples=90, deadline=None, suppress_health_check=list(HealthCheck))
def test_mutated_spreadsheets(rows: list[list[str]], delimiter: str, cut: int, tmp_path_factory: Any) -> None:
    root = tmp_path_factory.mktemp("fuzz") / "inner"
    write_image(root / "a.png", 1)
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([["image", "question", "answer", "choices"], *rows])
    content = buffer.getvalue().encode("utf-8", "surrogatepass")
    (root / "q.csv").write_bytes(content[: len(content) - cut])
    _survives("table", root)


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_damaged_tables(data: st.DataObject, tmp_path_factory: Any) -> None:
    root = tmp_path_factory.mktemp("fuzz") / "inner"
    root.mkdir()
    rows = [{"image": {"bytes": encoded(n), "path": None}, "question": "Q?", "answer": "yes"} for n in range(3)]
    buffer, arrow = io.BytesIO(), data.draw(st.booleans())
    table = pa.Table.from_pylist(rows)
    if arrow:
        with pa.ipc.new_stream(buffer, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as out:
            out.write_table(table)
    else:
        pq.write_table(table, buffer)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    (root / ("q.arrow" if arrow else "q.parquet")).write_bytes(
        content[: data.draw(st.integers(0, len(content)))] or b"x"
    )
    _survives("table", root)
