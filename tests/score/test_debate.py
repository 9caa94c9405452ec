"""The protocol of METHOD section 2, with scripted agents and hand-derived scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmedpo.errors import ScoringError
from mmedpo.records import ImageRef, PreferencePair, Turn
from mmedpo.score.debate import Case, Opinion, abstain, agree, case_of, debate, rescore, scored

CASE = Case("e1/text", "Which side?", "left", "right")


@dataclass
class Scripted:
    """Says what the script holds: a number is a score, "a" agrees, "-" abstains; the last item repeats."""

    name: str
    script: tuple[float | str, ...]
    heard: list[int] = field(default_factory=list)

    def first(self, case: Case) -> Opinion:
        return self._next(0)

    def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
        return self._next(len(history))

    def _next(self, history: int) -> Opinion:
        item = self.script[min(len(self.heard), len(self.script) - 1)]
        self.heard.append(history)
        if isinstance(item, str):
            return agree() if item == "a" else abstain("no number in the reply", raw="As a model, I cannot")
        return rescore(item)


def agents(*scripts: tuple[float | str, ...]) -> list[Scripted]:
    return [Scripted(f"g{i + 1}", script) for i, script in enumerate(scripts)]


def test_agreement_in_the_first_round_is_final() -> None:
    result = debate(agents((0.8,), ("a",), ("a",)), CASE, 5)
    assert (result.score, result.consensus, result.rounds_used) == (0.8, True, 1)
    assert result.history == (0.8, 0.8, 0.8)
    assert [t.agreed for t in result.turns] == [False, True, True]


def test_consensus_may_come_in_the_middle_of_a_round() -> None:
    # g2 lowers to 0.6, g3 agrees, then g1 agrees: all three stand behind 0.6 in sequence.
    result = debate(agents((0.8, "a"), (0.6,), ("a",)), CASE, 5)
    assert (result.score, result.consensus, result.rounds_used, len(result.turns)) == (0.6, True, 2, 4)


def test_without_consensus_the_score_is_the_mean_of_the_history() -> None:
    # Two rounds: S = 0.8, 0.4, 0.4, 0.8, 0.4, 0.4 -> 3.2 / 6.
    result = debate(agents((0.8,), (0.4,), ("a",)), CASE, 2)
    assert (result.consensus, result.rounds_used) == (False, 2)
    assert result.history == (0.8, 0.4, 0.4, 0.8, 0.4, 0.4)
    assert result.score == pytest.approx(3.2 / 6)


def test_giving_the_standing_score_again_is_agreement() -> None:
    result = debate(agents((0.5,), (0.5,), ("a",)), CASE, 5)
    assert (result.score, result.consensus, result.rounds_used) == (0.5, True, 1)


def test_a_score_near_enough_to_the_standing_one_agrees_with_it_and_does_not_replace_it() -> None:
    panel = ((0.6,), (0.7,), (0.5,))
    near = debate(agents(*panel), CASE, 5, agreement=0.1)
    assert (near.score, near.consensus, near.history) == (0.6, True, (0.6, 0.6, 0.6))
    # 0.3 - 0.2 is a little more than 0.1 in binary; one tenth is one tenth.
    assert debate(agents((0.2,), (0.3,)), CASE, 5, agreement=0.1).consensus
    far = debate(agents(*panel), CASE, 1, agreement=0.05)
    assert (far.consensus, far.history) == (False, (0.6, 0.7, 0.5))


def test_an_abstention_is_no_number_and_no_agreement() -> None:
    result = debate(agents((0.8,), ("-",), ("a",)), CASE, 2)
    assert result.history == (0.8, 0.8, 0.8, 0.8)
    assert (result.score, result.consensus, result.rounds_used) == (pytest.approx(0.8), False, 2)
    silent = [t for t in result.turns if t.agent == "g2"]
    assert all(t.score is None and not t.agreed and t.raw for t in silent)


def test_if_the_first_abstains_the_next_scores_first() -> None:
    panel = agents(("-", "a"), (0.3,), ("a",))
    result = debate(panel, CASE, 5)
    assert (result.score, result.consensus) == (0.3, True)
    assert panel[1].heard == [0]


def test_all_abstaining_gives_no_score_but_a_reason() -> None:
    result = debate(agents(("-",), ("-",)), CASE, 3)
    assert result.score is None
    assert "no number in the reply" in result.reason
    assert len(result.turns) == 6


def test_agreement_with_nothing_is_an_abstention() -> None:
    assert debate(agents(("a",)), CASE, 1).score is None


@pytest.mark.parametrize("bad", [1.5, -0.1, float("nan"), float("inf")])
def test_impossible_scores_are_abstentions(bad: float) -> None:
    result = debate(agents((0.6,), (bad, "a")), CASE, 5)
    assert (result.score, result.consensus) == (0.6, True)
    assert "outside [0, 1]" in result.turns[1].reason


def test_turns_are_numbered_and_see_the_history() -> None:
    panel = agents((0.8, 0.7), (0.6,))
    result = debate(panel, CASE, 2)
    assert [(t.position, t.round, t.agent) for t in result.turns] == [
        (1, 1, "g1"),
        (2, 1, "g2"),
        (3, 2, "g1"),
        (4, 2, "g2"),
    ]
    assert (panel[0].heard, panel[1].heard) == ([0, 2], [1, 3])


def test_what_is_refused() -> None:
    with pytest.raises(ScoringError, match="at least one"):
        debate([], CASE, 5)
    with pytest.raises(ScoringError, match="names must differ"):
        debate([Scripted("g", (0.5,)), Scripted("g", (0.5,))], CASE, 5)
    with pytest.raises(ScoringError, match="rounds is 0"):
        debate(agents((0.5,)), CASE, 0)


TENTHS = st.integers(0, 10).map(lambda n: n / 10)
SCRIPTS = st.lists(
    st.lists(st.one_of(TENTHS, st.sampled_from(["a", "-"])), min_size=1, max_size=6).map(tuple), min_size=1, max_size=4
)


@given(TENTHS, st.integers(1, 5), st.integers(1, 6))
def test_consensus_gives_exactly_the_common_score(score: float, panel: int, rounds: int) -> None:
    result = debate(agents(*[(score,)] * panel), CASE, rounds)
    assert (result.score, result.consensus, result.rounds_used) == (score, True, 1)


@given(SCRIPTS, st.integers(1, 5))
def test_score_lies_within_what_was_said(scripts: list[tuple[float | str, ...]], rounds: int) -> None:
    result = debate(agents(*scripts), CASE, rounds)
    if not result.history:
        assert result.score is None
        assert result.reason
        return
    assert result.score is not None
    assert min(result.history) - 1e-12 <= result.score <= max(result.history) + 1e-12
    assert len(result.turns) <= rounds * len(scripts)
    if result.consensus:
        assert result.score == result.history[-1]
        assert [t.score for t in result.turns if t.score is not None][-len(scripts) :] == [result.score] * len(scripts)


def pair(kind: str = "text") -> PreferencePair:
    image = ImageRef(path="a.png", sha256="a" * 64, width=8, height=8)
    return PreferencePair(
        pair_id=f"e1/{kind}", example_id="e1", kind=kind, image=image, question="Which side?", chosen="left",
        rejected="right", unscored_reason="not debated yet",
    )  # fmt: skip


def test_pairs_take_the_score_or_the_reason() -> None:
    done = scored(pair(), debate(agents((0.4,)), case_of(pair()), 1))
    assert (done.score, done.score_source, done.unscored_reason) == (0.4, "debate", "")
    failed = scored(pair(), debate(agents(("-",)), case_of(pair()), 1))
    assert (failed.score, failed.score_source) == (None, "")
    assert failed.unscored_reason
    with pytest.raises(ScoringError, match="only text pairs"):
        case_of(pair("visual"))
