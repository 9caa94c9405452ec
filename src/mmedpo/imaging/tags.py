"""Values out of DICOM tags in whatever state they are: empty, of the wrong type, text where a number belongs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MOST_ENTRIES = 1 << 16


class Table(NamedTuple):
    """A lookup table (PS3.3 C.11.1.1, C.7.6.3.1.5)."""

    entries: NDArray[np.uint16]
    """`[n]`, n >= 1."""
    first: int
    """The input value that takes the first entry."""
    bits: int
    """Bits of an entry, as the descriptor says."""


def value_of(tags: Any, keyword: str) -> Any:
    """The value of a tag, its raw bytes where they are not what its type demands, None where it is absent."""
    if keyword not in tags:
        return None
    try:
        return tags[keyword].value
    except Exception:
        return _as_it_lies(tags, keyword)


def numbers(tags: Any, keyword: str, little: bool = True, *, keep: bool = False) -> list[float]:
    """The numbers of a tag.

    Args:
        tags: the data set.
        keyword: of the tag.
        little: byte order of a value that lies there as bytes.
        keep: NaN in the place of what is no finite number, instead of leaving it out.
    """
    value = value_of(tags, keyword)
    if value is None:
        return []
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    found = [number for part in (value if several else [value]) for number in _numbers(part, little)]
    return found if keep else [number for number in found if math.isfinite(number)]


def text(tags: Any, keyword: str) -> str:
    """The text of a tag, one value, without blanks around it; empty where there is none."""
    value = value_of(tags, keyword)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if value else None
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return "" if value is None or hasattr(value, "get_item") else str(value).strip("\0 \t\r\n")


def raw_bytes(tags: Any, keyword: str) -> bytes:
    """The bytes of a tag as they lie in the file, whatever type it claims; empty where it is absent."""
    value = _as_it_lies(tags, keyword) if keyword in tags else None
    return value if isinstance(value, bytes) else b""


def _as_it_lies(tags: Any, keyword: str) -> Any:
    """What a tag holds, unread: the library reads an empty one again otherwise, and stumbles over its type again."""
    return getattr(tags.get_item(keyword, keep_deferred=True), "value", None)


def items(tags: Any, keyword: str) -> list[Any]:
    """The items of a sequence; none where it is absent, empty or no sequence."""
    value = value_of(tags, keyword)
    return [item for item in value if hasattr(item, "get_item")] if isinstance(value, Sequence) else []


def read_table(tags: Any, descriptor: str, data: tuple[str, ...], little: bool) -> Table | None:
    """A lookup table, or None where its descriptor or data cannot be used.

    Args:
        tags: the data set or item that holds it.
        descriptor: keyword of (entries, first input value, bits).
        data: keywords of the entries; the second one names segmented data.
        little: byte order of data that lie there as bytes.
    """
    described = [int(number) for number in numbers(tags, descriptor, little)]
    if len(described) < 3:
        return None
    count, first, bits = described[0] % _MOST_ENTRIES or _MOST_ENTRIES, described[1], described[2]
    entries = _entries(value_of(tags, data[0]), count, bits, little)
    if not len(entries) and len(data) > 1:
        words = _entries(value_of(tags, data[1]), _MOST_ENTRIES * 4, bits, little)
        entries = np.array(expand_segments([int(word) for word in words], bits), dtype=np.uint16)[:count]
    return Table(entries, first, bits) if len(entries) else None


def read_palette(tags: Any, colour: str, little: bool) -> Table | None:
    """One colour of a palette, plain or segmented."""
    name = f"{colour}PaletteColorLookupTable"
    return read_table(tags, f"{name}Descriptor", (f"{name}Data", f"Segmented{name}Data"), little)


def expand_segments(words: list[int], bits: int) -> list[int]:
    """Segmented palette data (PS3.3 C.7.9.2) as plain entries, at most as many as a table may have."""
    entries: list[int] = []
    _expand(words, 0, len(words), bits, entries, nested=False)
    return entries[:_MOST_ENTRIES]


def _expand(words: list[int], at: int, segments: int, bits: int, entries: list[int], nested: bool) -> None:
    """Appends up to `segments` segments that begin at word `at`; indirect ones repeat those at a byte offset."""
    for _ in range(segments):
        if at + 1 >= len(words) or len(entries) >= _MOST_ENTRIES:
            return
        kind, length = words[at : at + 2]
        at += 2
        if length == 0:  # damaged, and free to repeat without end
            return
        if kind == 0:
            entries.extend(words[at : at + length])
            at += length
        elif kind == 1 and entries and at < len(words):
            entries.extend(round(float(v)) for v in np.linspace(entries[-1], words[at], length + 1)[1:])
            at += 1
        elif kind == 2 and not nested:  # an indirect segment may not hold another one
            wide = 4 if bits <= 8 else 2
            offset = sum(word << (place * (8 if bits <= 8 else 16)) for place, word in enumerate(words[at : at + wide]))
            _expand(words, offset if bits <= 8 else offset // 2, length, bits, entries, nested=True)
            at += wide
        else:
            return


def _entries(value: Any, count: int, bits: int, little: bool) -> NDArray[np.uint16]:
    """The first `count` entries; bytes hold one entry each where there are only so many of them."""
    if isinstance(value, bytes | bytearray):
        packed = len(value) <= count + 1 and (bits <= 8 or len(value) >= count > 1)
        kind = np.dtype(np.uint8) if packed else np.dtype("<u2" if little else ">u2")
        usable = len(value) // kind.itemsize
        return np.frombuffer(value, kind, usable).astype(np.uint16)[:count]
    several = isinstance(value, Sequence) and not isinstance(value, str)
    parts = value if several else [value]
    if not all(isinstance(part, int) for part in parts):
        return np.zeros(0, dtype=np.uint16)
    return np.array([int(part) % _MOST_ENTRIES for part in parts[:count]], dtype=np.uint16)


def _numbers(part: Any, little: bool) -> list[float]:
    if isinstance(part, bytes | bytearray):
        try:
            return [float(one) for one in part.decode("ascii").strip("\0 ").replace(",", ".").split("\\")]
        except ValueError:
            pass
        if len(part) in (2, 4):
            return [float(int.from_bytes(part, "little" if little else "big"))]
        return [math.nan]
    try:
        return [float(part.replace(",", ".")) if isinstance(part, str) else float(part)]
    except (TypeError, ValueError, OverflowError):
        return [math.nan]
