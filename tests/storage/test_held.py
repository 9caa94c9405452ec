"""Records that are held as text come back as they were, whatever they hold."""

from __future__ import annotations

import math
from typing import Any

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


@given(rows=st.lists(ROWS, max_size=5))
def test_what_is_held_is_what_was_given(rows: list[PreferenceRow]) -> None:
    """Lone halves of surrogate pairs and numbers that are none included: JSON cannot tell them."""
    held = Held(PreferenceRow, rows)
    assert len(held) == len(rows)
    for place, row in enumerate(rows):
        for found in (held[place], held[place - len(rows)], list(held)[place], held[place:][0]):
            assert repr(found) == repr(row)
    if not any(row.score is not None and math.isnan(row.score) for row in rows):
        assert held == rows
        assert held != [*rows, *rows, turn("user", "x")]


def test_a_row_takes_a_tenth_of_its_memory() -> None:
    import tracemalloc

    def row(number: int) -> PreferenceRow:
        texts = [f"{number} {'a lobar consolidation ' * 5}" for _ in range(3)]
        return PreferenceRow(
            row_id=str(number),
            pair_type="text",
            prompt=(turn("user", texts[0]),),
            chosen=(turn("assistant", texts[1]),),
            rejected=(turn("assistant", texts[2]),),
        )

    def taken(make: Any) -> int:
        tracemalloc.start()
        kept = make()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert len(kept) == 300
        return size

    rows = (row(number) for number in range(300))
    assert taken(lambda: Held(PreferenceRow, rows)) * 5 < taken(lambda: [row(number) for number in range(300)])
