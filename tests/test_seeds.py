"""Seeds: the same for ever, different for every purpose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmedpo.seeds import derive_seed


def test_seeds_are_the_same_on_every_machine_and_for_ever() -> None:
    """First 8 bytes of SHA-256("0\\0sample\\0q1\\0002"), big-endian (3d424e7a5a3a5c63), without the last two bits."""
    assert derive_seed(0, "sample", "q1", 2) == 0x3D424E7A5A3A5C63 >> 2


@given(st.integers(), st.lists(st.one_of(st.integers(), st.text()), max_size=3))
def test_a_seed_fits_every_generator(seed: int, names: list[str | int]) -> None:
    assert 0 <= derive_seed(seed, *names) < 2**62


def test_seeds_of_different_purposes_differ() -> None:
    keys: list[tuple[str | int, ...]] = [("a", "b"), ("ab",), ("b", "a"), ("a", "b", 0), ("a",), ()]
    assert len({derive_seed(run, *names) for run in (0, 1) for names in keys}) == 2 * len(keys)
