"""Handing chunks out: each is noted once, whoever dies in between, and what kills every worker is given up."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.errors import RunFolderError
from mmedpo.run.handing import MOST_LOSSES, Done, Lost, hand_out


class Crowd:
    """Workers that finish in a drawn order, and die as often as they are told to over each chunk."""

    def __init__(self, room: int, deaths: dict[int | None, int], seed: int = 0) -> None:
        self.places, self.deaths, self.draw = room, dict(deaths), random.Random(seed)
        self.made = 0
        self.at_work: dict[int, int | None] = {}
        self.most = 0
        self.given: list[int] = []

    def room(self) -> int:
        return self.places

    def start(self) -> int:
        self.made += 1
        self.at_work[self.made] = None
        self.most = max(self.most, len(self.at_work))
        return self.made

    def give(self, worker: int, start: int) -> None:
        self.at_work[worker] = start
        self.given.append(start)

    def next(self) -> tuple[int, Done[str] | Lost]:
        worker = self.draw.choice(sorted(self.at_work))
        start = self.at_work[worker]
        if self.deaths.get(start, 0):
            self.deaths[start] -= 1
            return worker, Lost(f"killed over {start}")
        return worker, Done(() if start is None else (f"record of {start}",))

    def stop(self, worker: int) -> None:
        self.at_work.pop(worker, None)


@given(
    chunks=st.lists(st.integers(0, 40), unique=True, max_size=15),
    room=st.integers(1, 6),
    deaths=st.dictionaries(st.none() | st.integers(0, 40), st.integers(0, MOST_LOSSES - 1), max_size=8),
    seed=st.integers(0, 5),
)
def test_every_chunk_is_noted_once_whoever_dies(
    chunks: list[int], room: int, deaths: dict[int | None, int], seed: int
) -> None:
    crowd, saved = Crowd(room, deaths, seed), list[tuple[int, Sequence[str]]]()
    hand_out(chunks, crowd, lambda start, records: saved.append((start, records)))
    assert sorted(saved) == [(start, (f"record of {start}",)) for start in sorted(chunks)]
    assert crowd.at_work == {}, "no worker is left"
    assert crowd.most <= room
    assert crowd.made <= len(chunks) + sum(deaths.values()), "no worker without a chunk for it"


def test_a_worker_works_on() -> None:
    crowd = Crowd(2, {})
    hand_out(range(20), crowd, lambda start, records: None)
    assert crowd.made == 2


@pytest.mark.parametrize(
    ("deaths", "said"),
    [
        ({3: 99}, f"{MOST_LOSSES} workers died over the items from 3 on (the last: killed over 3); give"),
        ({None: 99}, f"{2 * MOST_LOSSES} workers died before they were ready (the last: killed over None); give"),
    ],
)
def test_what_kills_every_worker_is_given_up(deaths: dict[int | None, int], said: str) -> None:
    crowd, saved = Crowd(2, deaths), list[int]()
    with pytest.raises(RunFolderError) as caught:
        hand_out([1, 2, 3, 4], crowd, lambda start, records: saved.append(start))
    assert str(caught.value).startswith(said)
    assert crowd.at_work == {}


def test_without_room_for_any_worker_it_ends_with_a_line_instead_of_waiting() -> None:
    with pytest.raises(RunFolderError, match="no node of the cluster has room for a worker any more"):
        hand_out([1], Crowd(0, {}), lambda start, records: None)


def test_what_the_work_raises_ends_it_and_every_worker() -> None:
    class Failing(Crowd):
        def next(self) -> tuple[int, Done[str] | Lost]:
            worker, outcome = super().next()
            if self.at_work[worker] == 2:
                raise KeyError("of the work")
            return worker, outcome

    crowd = Failing(2, {})
    with pytest.raises(KeyError, match="of the work"):
        hand_out([1, 2, 3], crowd, lambda start, records: None)
    assert crowd.at_work == {}
