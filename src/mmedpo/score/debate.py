"""The clinical debate (METHOD section 2): several agents settle one relevance score, text only.

Protocol. Agent 1 scores the dispreferred answer; each next agent sees the history and either agrees
with the standing score (s_i = s_{i-1}) or gives a new one. It goes round until all agents stand
behind the same score in sequence (consensus: that score is final) or `rounds` rounds have passed;
then the score is the mean of the history S.

What S holds: one entry per turn that was no abstention, namely the score standing after it. A turn of
agreement therefore repeats the score it agrees with, as in the paper. An abstention (a refusal, an
unparsable reply, a score outside [0, 1]) is never a number: it adds nothing to S, leaves the standing
score as it is, and is no agreement, so a silent agent prevents consensus but not a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from mmedpo.config import ScoreSettings
from mmedpo.errors import ScoringError
from mmedpo.records import PreferencePair, Turn

DEFAULT_ROUNDS = ScoreSettings().rounds
"""r in the paper; written in the configuration."""


@dataclass(frozen=True)
class Case:
    """What the agents see: text only, never an image."""

    pair_id: str
    question: str
    truth: str
    """Ground truth y_w."""
    rejected: str
    """Dispreferred answer y_l, the one that is scored."""


@dataclass(frozen=True)
class Opinion:
    """What an agent says in one turn. Use `agree`, `rescore` and `abstain` to make one."""

    kind: Literal["agree", "rescore", "abstain"]
    score: float | None = None
    """New score in [0, 1]; None unless `rescore`."""
    reason: str = ""
    raw: str = ""
    """The reply as received."""


def agree(reason: str = "", raw: str = "") -> Opinion:
    """The standing score is right."""
    return Opinion("agree", None, reason, raw)


def rescore(score: float, reason: str = "", raw: str = "") -> Opinion:
    """A first or a different score in [0, 1]."""
    return Opinion("rescore", score, reason, raw)


def abstain(reason: str, raw: str = "") -> Opinion:
    """No score could be given or understood."""
    return Opinion("abstain", None, reason, raw)


@runtime_checkable
class Agent(Protocol):
    """One debater."""

    name: str

    def first(self, case: Case) -> Opinion:
        """Scores a case on which no score stands yet."""
        ...

    def respond(self, case: Case, history: Sequence[Turn]) -> Opinion:
        """Agrees with the standing score (the last one in `history`) or gives another."""
        ...


@dataclass(frozen=True)
class DebateResult:
    """How one debate ended."""

    turns: tuple[Turn, ...]
    """Every turn, abstentions included."""
    score: float | None
    """Final score in [0, 1]; None when no agent ever scored."""
    consensus: bool
    """True when every agent stood behind the final score in sequence."""
    rounds_used: int
    """Rounds begun."""
    reason: str = ""
    """Why there is no score; empty when there is one."""

    @property
    def history(self) -> tuple[float, ...]:
        """S: the score standing after each turn that was no abstention."""
        return tuple(s for turn in self.turns if (s := turn.score) is not None)


@dataclass
class _Floor:
    """State of a running debate."""

    case: Case
    turns: list[Turn] = field(default_factory=list)
    standing: float | None = None
    supporters: set[str] = field(default_factory=set)

    def hear(self, agent: Agent, round_number: int) -> None:
        """Lets one agent speak and records the turn."""
        opinion = agent.first(self.case) if self.standing is None else agent.respond(self.case, tuple(self.turns))
        opinion = self._checked(opinion)
        agreed = opinion.kind == "agree" or (opinion.kind == "rescore" and opinion.score == self.standing)
        if opinion.kind == "rescore" and not agreed:
            self.standing = opinion.score
            self.supporters = set()
        if opinion.kind != "abstain":
            self.supporters.add(agent.name)
        self.turns.append(
            Turn(
                pair_id=self.case.pair_id,
                agent=agent.name,
                round=round_number,
                position=len(self.turns) + 1,
                score=None if opinion.kind == "abstain" else self.standing,
                agreed=agreed,
                reason=opinion.reason,
                raw=opinion.raw,
            )
        )

    def _checked(self, opinion: Opinion) -> Opinion:
        if opinion.kind == "agree" and self.standing is None:
            return abstain("agreed although no score stands", opinion.raw)
        # A comparison with NaN is false, so NaN is refused here as well.
        if opinion.kind == "rescore" and (opinion.score is None or not 0.0 <= opinion.score <= 1.0):
            return abstain(f"score {opinion.score} is outside [0, 1]", opinion.raw)
        return opinion


def debate(agents: Sequence[Agent], case: Case, rounds: int = DEFAULT_ROUNDS) -> DebateResult:
    """Runs one debate.

    Args:
        agents: G_1..G_g in speaking order, with distinct names; one agent alone is its own consensus.
        case: the texts under debate.
        rounds: r, the most rounds; each agent speaks once a round.

    Raises:
        ScoringError: no agent, two agents of one name, or fewer than one round.
    """
    names = [agent.name for agent in agents]
    if not names or len(set(names)) != len(names):
        raise ScoringError(f"debate agents are {names}; at least one is needed and names must differ")
    if rounds < 1:
        raise ScoringError(f"debate rounds is {rounds}; allowed: 1 or more (the paper uses {DEFAULT_ROUNDS})")
    floor = _Floor(case)
    for round_number in range(1, rounds + 1):
        for agent in agents:
            floor.hear(agent, round_number)
            if len(floor.supporters) == len(agents):
                return DebateResult(tuple(floor.turns), floor.standing, True, round_number)
    scores = [turn.score for turn in floor.turns if turn.score is not None]
    if not scores:
        last = floor.turns[-1]
        return DebateResult(
            tuple(floor.turns), None, False, rounds, f"every agent abstained; {last.agent}: {last.reason}"
        )
    return DebateResult(tuple(floor.turns), math.fsum(scores) / len(scores), False, rounds)


def case_of(pair: PreferencePair) -> Case:
    """The texts of a text pair.

    Raises:
        ScoringError: a visual pair; its score is the visual tool's confidence.
    """
    if pair.kind != "text":
        raise ScoringError(f"pair {pair.pair_id!r} is {pair.kind}; only text pairs are debated")
    return Case(pair_id=pair.pair_id, question=pair.question, truth=pair.chosen, rejected=pair.rejected)


def scored(pair: PreferencePair, result: DebateResult) -> PreferencePair:
    """The pair with the outcome of its debate: a score, or the reason why there is none."""
    return pair.model_copy(
        update={
            "score": result.score,
            "score_source": "" if result.score is None else "debate",
            "unscored_reason": result.reason,
        }
    )
