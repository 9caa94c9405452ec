"""Arrow arrays as Python objects: against what Arrow makes of them, whatever their types, nulls and slices."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmedpo.storage.arrow_values import python_rows

Typed = tuple[pa.DataType, st.SearchStrategy[Any]]

SIMPLE: list[Typed] = [
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.bool_(), st.booleans()),
    (pa.string(), st.text(max_size=3)),
    (pa.binary(), st.binary(max_size=3)),
    (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["", "a", "b"])),
    (pa.dictionary(pa.int8(), pa.binary()), st.sampled_from([b"", b"a"])),
    (pa.timestamp("us"), st.datetimes()),
    (pa.list_(pa.int8(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
]


def nested(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Lists, maps and structures of what `inner` draws."""

    def listed(one: Typed) -> st.SearchStrategy[Typed]:
        kind, values = one
        many = st.lists(st.none() | values, max_size=3)
        maps = st.dictionaries(st.sampled_from(["x", "y", "z"]), st.none() | values, max_size=3)
        pairs = maps.map(lambda one: list(one.items()))
        texts = pa.dictionary(pa.int32(), pa.string())
        return st.sampled_from(
            [(pa.list_(kind), many), (pa.large_list(kind), many), (pa.map_(pa.string(), kind), pairs)]
            + ([(pa.map_(texts, kind), pairs)] if not pa.types.is_nested(kind) else [])
        )

    def structured(parts: list[Typed]) -> Typed:
        names = [f"f{place}" for place in range(len(parts))]
        kind = pa.struct([pa.field(name, part) for name, (part, _) in zip(names, parts, strict=True)])
        return kind, st.fixed_dictionaries(
            {name: st.none() | values for name, (_, values) in zip(names, parts, strict=True)}
        )

    return inner.flatmap(listed) | st.lists(inner, max_size=3).map(structured)


@settings(max_examples=150, deadline=None)
@given(typed=st.recursive(st.sampled_from(SIMPLE), nested, max_leaves=4), data=st.data(), own=st.booleans())
def test_rows_are_those_that_arrow_makes(typed: Typed, data: st.DataObject, own: bool) -> None:
    kind, values = typed
    rows = data.draw(st.lists(st.none() | values, max_size=6))
    batch = pa.record_batch([pa.array(rows, kind), pa.array(range(len(rows)), pa.int32())], ["a", "number"])
    start = data.draw(st.integers(0, len(rows)))
    part = batch.slice(start, data.draw(st.integers(0, len(rows) - start)))
    expected = part.to_pylist(maps_as_pydicts="strict" if own else None)
    assert python_rows(part, own=own) == expected


def test_a_key_that_stands_twice_is_an_error_of_own_tables_and_a_pair_of_others() -> None:
    kind = pa.map_(pa.string(), pa.int64())
    batch = pa.record_batch([pa.array([[("x", 1), ("x", 2)]], kind)], ["a"])
    with pytest.raises(KeyError):
        python_rows(batch, own=True)
    assert python_rows(batch) == [{"a": [("x", 1), ("x", 2)]}]


def test_rows_without_columns_are_empty() -> None:
    assert python_rows(pa.record_batch([pa.array([1, 2])], ["a"]).select([])) == [{}, {}]


BEHIND = pa.nulls(1_000_000)
OFFSETS, HIDDEN = [0, len(BEHIND)], pa.array([True])
KEYS = pa.array(range(len(BEHIND)), pa.int32())
LISTED = pa.ListArray.from_arrays(pa.array(OFFSETS, pa.int32()), BEHIND, mask=HIDDEN)


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (LISTED, None),
        (pa.LargeListArray.from_arrays(pa.array(OFFSETS, pa.int64()), BEHIND, mask=HIDDEN), None),
        (pa.MapArray.from_arrays(pa.array([0, None, len(BEHIND)], pa.int32()), KEYS, BEHIND).slice(1), None),
        (pa.StructArray.from_arrays([LISTED], ["a"]), {"a": None}),
        (
            pa.StructArray.from_arrays(
                [pa.ListArray.from_arrays(pa.array(OFFSETS, pa.int32()), BEHIND)], ["a"], mask=HIDDEN
            ),
            None,
        ),
    ],
    ids=["list", "large list", "map", "list in a structure", "structure"],
)
def test_what_lies_behind_a_null_is_not_made(array: pa.Array, value: object) -> None:
    """A row that is null may reach over any number of values, which nobody counted."""
    tracemalloc.start()
    try:
        rows = python_rows(pa.record_batch([array], ["a"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows[0] == {"a": value}
    assert peak < len(BEHIND), "bytes; a list of what lies there has eight for each"
