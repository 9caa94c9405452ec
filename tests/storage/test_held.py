"""Records that are held as text come back as they were, whatever they hold."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.records import Message, Part, PreferenceRow
from mmedpo.storage.held import Held

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)


def turn(role: Any, text: str) -> Message:
    return Message(role=role, content=(Part(type="image"), Part(type="text", text=text)))


ROWS = st.builds(
    lambda name, texts, score, images, kind: PreferenceRow(
        row_id=name,
        pair_type=kind,
        prompt=(turn("system", texts[0]), turn("user", texts[1])),
        chosen=(turn("assistant", texts[2]),),
        rejected=(),
        images=images,
        score=score,
        weight=score,
    ),
    TEXTS,
    st.tuples(TEXTS, TEXTS, TEXTS),
    st.none() | st.floats(),
    st.tuples() | st.tuples(TEXTS, TEXTS),
    st.sampled_from(["text", "visual", "both"]),
)


@given(rows=st.lists(ROWS, max_size=5), room=st.sampled_from([1, 300, 1 << 20]), block=st.sampled_from([1, 2, 256]))
def test_what_is_held_is_what_was_given(rows: list[PreferenceRow], room: int, block: int) -> None:
    """Lone halves of surrogate pairs and numbers that are none included: JSON cannot tell them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mmedpo.storage.held._IN_MEMORY", room)
        patch.setattr("mmedpo.storage.held._BLOCK", block)
        held = Held(PreferenceRow, rows)
        _same(held, rows)
        if rows:
            held.append(rows[0])  # after some were put away, and read again
            _same(held, [*rows, rows[0]])


def _same(held: Held[PreferenceRow], rows: list[PreferenceRow]) -> None:
    assert len(held) == len(rows)
    for place, row in enumerate(rows):
        for found in (held[place], held[place - len(rows)], list(held)[place], held[place:][0]):
            assert repr(found) == repr(row)
    if not any(row.score is not None and math.isnan(row.score) for row in rows):
        assert held == rows
        assert held != [*rows, *rows, turn("user", "x")]


def row(number: int) -> PreferenceRow:
    texts = [f"{number} {'a lobar consolidation ' * 5}" for _ in range(3)]
    return PreferenceRow(
        row_id=str(number),
        pair_type="text",
        prompt=(turn("user", texts[0]),),
        chosen=(turn("assistant", texts[1]),),
        rejected=(turn("assistant", texts[2]),),
    )


def taken(make: Any, rows: int) -> int:
    """Bytes that are in memory once it is made."""
    tracemalloc.start()
    kept = make()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(kept) == rows
    return size


def test_a_row_takes_a_tenth_of_its_memory_and_among_many_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    as_objects = taken(lambda: [row(number) for number in range(300)], 300)
    assert taken(lambda: Held(PreferenceRow, map(row, range(300))), 300) * 5 < as_objects
    monkeypatch.setattr("mmedpo.storage.held._IN_MEMORY", 4096)
    assert taken(lambda: Held(PreferenceRow, map(row, range(300))), 300) < 300 * 30 + 8192


def test_the_file_goes_with_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmedpo.storage.held._IN_MEMORY", 1)

    def open_files() -> int:
        return sum("(deleted)" in str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())

    before = open_files()
    held = Held(PreferenceRow, map(row, range(3)))
    assert open_files() == before + 1
    assert held[1] == row(1)
    del held
    assert open_files() == before
