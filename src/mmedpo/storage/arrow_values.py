"""Arrow arrays as Python objects, a column at a time: what `to_pylist` gives, which makes an object for every value.

Rows of our tables are texts, and lists, maps and structures of texts; read so they take a fifth of the time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any


def python_rows(batch: Any, *, own: bool = False) -> list[dict[str, Any]]:
    """The rows of a record batch whose columns have names of their own.

    Args:
        batch: a `pyarrow.RecordBatch`.
        own: maps become dictionaries, and a key that stands twice in one is an error; else lists of pairs.
    """
    names = batch.schema.names
    columns = [_values(column, own) for column in batch.columns]
    if not columns:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _values(array: Any, own: bool) -> list[Any]:
    """The values of an array; of kinds that are not known here, as Arrow makes them."""
    import pyarrow as pa

    kind = array.type
    # Behind a list or map that is null anything may lie, and any amount of it; it is in no value.
    whole = not array.null_count
    if pa.types.is_dictionary(kind) and not pa.types.is_nested(kind.value_type):
        return _looked_up(array)
    if pa.types.is_struct(kind) and len({field.name for field in kind}) == kind.num_fields > 0:
        children = [_values(child, own) for child in array.flatten()]
        names = [field.name for field in kind]
        return _with_nulls(array, [dict(zip(names, row, strict=True)) for row in zip(*children, strict=True)])
    if whole and (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        return _pieces(array, _values(_inner(array, array.values), own))
    if whole and pa.types.is_map(kind):
        keys, items = (_values(_inner(array, inner), own) for inner in (array.keys, array.items))
        pairs: list[Any] = _pieces(array, list(zip(keys, items, strict=True)))
        if not own:
            return pairs
        maps: list[Any] = [dict(entries) for entries in pairs]
        if all(len(one) == len(entries) for one, entries in zip(maps, pairs, strict=True)):
            return maps
    values: list[Any] = array.to_pylist(maps_as_pydicts="strict" if own else None)
    return values


def _looked_up(array: Any) -> list[Any]:
    """The values of a dictionary array; of the dictionary, those that stand somewhere."""
    used = array.indices.unique().drop_null()
    known = dict(zip(used.to_pylist(), array.dictionary.take(used).to_pylist(), strict=True))
    return [known.get(index) for index in array.indices.to_pylist()]


def _inner(array: Any, inner: Any) -> Any:
    """The part of a list's or map's flat values that the array, which may be a slice, reaches."""
    start, stop = array.offsets[0].as_py(), array.offsets[-1].as_py()
    return inner.slice(start, stop - start)


def _pieces(array: Any, flat: list[Any]) -> list[list[Any]]:
    offsets = array.offsets.to_pylist()
    first = offsets[0]
    return [flat[start - first : stop - first] for start, stop in pairwise(offsets)]


def _with_nulls(array: Any, values: list[Any]) -> list[Any]:
    if not array.null_count:
        return values
    return [value if there else None for value, there in zip(values, array.is_valid().to_pylist(), strict=True)]
