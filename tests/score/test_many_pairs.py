"""Scoring a table that is larger than memory: no pair is held longer than it is looked at."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmedpo.config import RunSettings
from mmedpo.records import PreferencePair, SourceWeights, Turn
from mmedpo.registry import register
from mmedpo.run import open_run
from mmedpo.run.layout import CURATED, DEBATES, PAIRS, WEIGHTS
from mmedpo.score.debate import Case, Opinion, abstain, agree, rescore
from mmedpo.score.stage import stage
from score.panel import pair

PAIRS_IN_ALL = 240
ALIVE: list[int] = []
"""Pairs that existed at once, whenever the last one was debated."""


class Counting:
    """Scores by the number of the case, and has nothing to say of every seventh."""

    name = "counting-pairs"

    def first(self, case: Case) -> Opinion:
        number = int(case.pair_id.removeprefix("e").split("/")[0])
        if number == PAIRS_IN_ALL - 1:
            gc.collect()  # what nobody holds may wait for it
            ALIVE.append(sum(type(one) is PreferencePair for one in gc.get_objects()))
        return abstain("nothing to say") if number % 7 == 0 else rescore(number % 10 / 10)

    def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
        return agree()


@pytest.mark.usefixtures("table")
def test_no_pair_is_held_while_many_are_debated_and_weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register("agent", Counting.name)(Counting)
    monkeypatch.setattr("mmedpo.score.stage.CHUNK", 20)
    gc.collect()
    before = sum(type(one) is PreferencePair for one in gc.get_objects())
    given = (pair(number) for number in range(PAIRS_IN_ALL))
    with open_run(tmp_path / "r", RunSettings(score={"agents": ["counting-pairs"]})) as run:
        # Every third has a score of its own already.
        run.write(
            CURATED,
            PreferencePair,
            [
                one.model_copy(update={"score": 0.5, "score_source": "imported", "unscored_reason": ""})
                if number % 3 == 0
                else one
                for number, one in enumerate(given)
            ],
        )
        run.execute(stage(run.settings))
        assert ALIVE[-1] - before < 60
        scored = {int(one.example_id[1:]): one for one in run.read(PAIRS, PreferencePair)}
        turns = [int(turn.pair_id[1:].split("/")[0]) for turn in run.read(DEBATES, Turn)]
        sources = {one.source: one.pairs for one in run.read(WEIGHTS, SourceWeights)}
        dropped = {int(drop.item[1:].split("/")[0]) for drop in run.drops()}
    debated = [number for number in range(PAIRS_IN_ALL) if number % 3]
    silent = {number for number in debated if number % 7 == 0}
    assert sorted(set(turns)) == debated == list(dict.fromkeys(turns))
    assert dropped == silent
    assert sources == {"text (imported)": 80, "text (debate)": len(debated) - len(silent)}
    assert list(scored) == [number for number in range(PAIRS_IN_ALL) if number not in silent]
    assert all(one.score == (0.5 if number % 3 == 0 else number % 10 / 10) for number, one in scored.items())
