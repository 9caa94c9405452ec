"""Records to Parquet and back: nothing changes on the way, and a bad file is one clear line."""

from __future__ import annotations

import inspect
import math
import os
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmedpo import records
from mmedpo.errors import RunFolderError
from mmedpo.records import Drop, Grounding, ImageRef, PreferencePair, Record
from mmedpo.storage.tables import atomic_path, read_table, write_table, write_text

RECORD_TYPES = sorted(
    (kind for _, kind in inspect.getmembers(records, inspect.isclass) if issubclass(kind, Record) and kind != Record),
    key=lambda kind: kind.__name__,
)


def _value(annotation: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this annotation may hold."""
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=20),
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    if annotation in simple:
        return simple[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([_value(argument) for argument in arguments])
    if origin is dict:
        return st.dictionaries(_value(arguments[0]), _value(arguments[1]), max_size=3)
    if origin is tuple:
        return st.lists(_value(arguments[0]), max_size=3).map(tuple)
    assert issubclass(annotation, Record), annotation
    return _record(annotation)


@cache
def _record(kind: type[Record]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    free = {name: _value(hints[name]) for name in kind.model_fields}
    if kind is PreferencePair:
        free["noised_image"] = st.just(0)  # of any number of images the first
    return st.builds(kind, **free)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _drop(reason: str = "unreadable-image") -> Drop:
    return Drop(stage="data", item="a.png", reason=reason)


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.__name__)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_every_record_comes_back_as_it_was(
    kind: type[Record], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    written = data.draw(st.lists(_record(kind), max_size=4))
    path = tmp_path_factory.mktemp("tables") / "t.parquet"
    write_table(path, kind, written)
    assert read_table(path, kind) == written


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 11])
def test_records_that_come_one_by_one_are_written_as_a_list_is(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In groups of rows: no more of them is in memory, and the bytes depend on nothing else."""
    monkeypatch.setattr("mmedpo.storage.tables._GROUP", 4)
    monkeypatch.setattr("mmedpo.storage.tables._BATCH", 2)
    drops = [_drop(f"reason {number}") for number in range(count)]
    write_table(tmp_path / "list", Drop, drops)
    write_table(tmp_path / "lazy", Drop, (drop for drop in drops))
    assert (tmp_path / "list").read_bytes() == (tmp_path / "lazy").read_bytes()
    assert read_table(tmp_path / "lazy", Drop) == drops
    groups = pq.read_metadata(tmp_path / "lazy")
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == (
        [4] * (count // 4) + [count % 4] * (count % 4 > 0) or [0]
    )


def test_a_table_has_a_column_for_further_images_only_where_a_record_has_any(tmp_path: Path) -> None:
    """Runs on one image a question keep their bytes, and tables from before there were several are read."""
    image = ImageRef(path="a.png", sha256="0" * 64, width=1, height=1)
    fields = {"pair_id": "p", "example_id": "e", "kind": "text", "question": "q", "chosen": "a", "rejected": "b"}
    one, two = (PreferencePair(image=image, other_images=others, **fields) for others in ((), (image,)))
    for pairs in ([one], [one, two], [one]):
        write_table(tmp_path / "pairs.parquet", PreferencePair, pairs)
        names = pq.read_table(tmp_path / "pairs.parquet").column_names
        assert ("other_images" in names) == (two in pairs)
        assert "noised_image" not in names
        assert read_table(tmp_path / "pairs.parquet", PreferencePair) == pairs


@pytest.mark.parametrize("place", [-1, 1])
def test_a_pair_whose_noised_image_is_none_of_its_images_is_refused(place: int, tmp_path: Path) -> None:
    image = ImageRef(path="a.png", sha256="0" * 64, width=1, height=1)
    fields = {"pair_id": "p", "example_id": "e", "kind": "visual", "question": "q", "chosen": "a", "rejected": "a"}
    write_table(tmp_path / "pairs.parquet", PreferencePair, [PreferencePair(image=image, **fields)])
    table = pq.read_table(tmp_path / "pairs.parquet")
    pq.write_table(table.append_column("noised_image", pa.array([place])), tmp_path / "pairs.parquet")
    with pytest.raises(RunFolderError, match="noised_image"):
        read_table(tmp_path / "pairs.parquet", PreferencePair)


def test_a_number_that_is_not_one_stays_so_instead_of_becoming_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, Grounding, [Grounding(image_sha256="a", tool="t", heatmap_path=None, confidence=math.nan)])
    (back,) = read_table(path, Grounding)
    assert back.confidence is not None
    assert math.isnan(back.confidence)


@pytest.mark.parametrize("kind", RECORD_TYPES, ids=lambda kind: kind.__name__)
def test_an_empty_table_keeps_its_columns(kind: type[Record], tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, kind, [])
    assert pq.read_schema(path).names == [name for name in kind.model_fields if name not in kind.sparse]
    assert read_table(path, kind) == []


def test_a_column_that_is_missing_everywhere_keeps_its_type(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, Grounding, [Grounding(image_sha256="a", tool="t", heatmap_path=None, confidence=None)])
    schema = pq.read_schema(path)
    assert schema.field("confidence").type == pa.float64()
    assert schema.field("heatmap_path").type == pa.string()


def test_a_run_folder_named_like_a_setting_adds_no_column(tmp_path: Path) -> None:
    path = tmp_path / "seed=3" / "drops.parquet"
    write_table(path, Drop, [_drop()])
    assert read_table(path, Drop) == [_drop()]


def test_a_missing_table_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"pairs\.parquet is missing"):
        read_table(tmp_path / "pairs.parquet", PreferencePair)


def test_a_table_of_another_record_names_the_columns_that_differ(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"stage": ["data"], "item": ["a"], "why": ["x"], "detail": [""]}), path)
    with pytest.raises(RunFolderError, match="columns differ: reason, why"):
        read_table(path, Drop)


def test_a_value_that_the_record_refuses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    columns = {"example_id": ["q1"], "model": ["base"], "text": ["yes"], "finished": ["perhaps"]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(RunFolderError, match=r"t\.parquet holds finished='perhaps'") as caught:
        read_table(path, records.Prediction)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_table_is_one_clear_line(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, Drop, [_drop(str(number)) for number in range(50)])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(RunFolderError, match=r"t\.parquet is not a readable table") as caught:
        read_table(path, Drop)
    assert "\n" not in str(caught.value)


def test_any_damaged_byte_gives_a_run_folder_error_or_a_valid_record(tmp_path: Path) -> None:
    """Flipped bytes must never end in a traceback of a library."""
    path = tmp_path / "t.parquet"
    write_table(path, Drop, [_drop()])
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        try:
            assert all(isinstance(record, Drop) for record in read_table(path, Drop))
        except RunFolderError:
            continue


def _half_written(path: Path) -> None:
    with atomic_path(path) as partial:
        partial.write_text("half of the n")
        raise KeyboardInterrupt


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt):
        _half_written(path)
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["f.txt"]


def test_records_that_cannot_be_written_leave_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, Drop, [_drop("old")])

    def failing() -> typing.Iterator[Drop]:
        yield _drop("new")
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_table(path, Drop, failing())
    assert read_table(path, Drop) == [_drop("old")]
    assert _names(tmp_path) == ["t.parquet"]


def test_a_target_that_cannot_be_replaced_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_text(tmp_path / "taken", "text")
    assert _names(tmp_path) == ["taken"]


def test_replacing_a_file_by_a_link_to_itself_leaves_no_temporary_file(tmp_path: Path) -> None:
    """Renaming one hard link of a file to another does nothing at all, says POSIX."""
    path = tmp_path / "f.txt"
    write_text(path, "same")
    with atomic_path(path) as partial:
        os.link(path, partial)
    assert path.read_text() == "same"
    assert _names(tmp_path) == ["f.txt"]


def test_nobody_sees_a_file_before_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "f.txt"
    with atomic_path(path) as partial:
        partial.write_text("first half, ")
        assert not path.exists()
    assert path.read_text() == "first half, "


def test_a_small_table_of_a_received_run_that_expands_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """One megabyte of text that a hundred thousand rows repeat: a few kilobytes on the disk, 100 GB in the memory."""
    path = tmp_path / "t.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * (1 << 20)]))
    pq.write_table(pa.table(dict.fromkeys(Drop.model_fields, text)), path, use_dictionary=True)
    assert path.stat().st_size < 300_000
    with pytest.raises(RunFolderError, match=r"t\.parquet holds a row of|expands to more than"):
        read_table(path, Drop)


def test_a_table_of_many_rows_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = pa.nulls(5_000_001, pa.string())
    pq.write_table(pa.table(dict.fromkeys(Drop.model_fields, rows)), path)
    with pytest.raises(RunFolderError, match="says it holds 5,000,001 rows, allowed are 5,000,000"):
        read_table(path, Drop)


def test_a_name_that_the_system_cannot_spell_holds_tables_all_the_same(tmp_path: Path) -> None:
    """A folder called in UTF-8 where the locale is C: Python keeps the bytes, Arrow would not take the name."""
    path = tmp_path / os.fsdecode(b"\xc3\xa4 \xff") / "t.parquet"
    write_table(path, Drop, [_drop()])
    assert read_table(path, Drop) == [_drop()]
