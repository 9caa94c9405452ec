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
from collections.abc import Awaitable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Protocol, cast, runtime_checkable

from mmedpo.chat.line import Line
from mmedpo.chat.model import ChatRequest, Deferred
from mmedpo.config import ScoreSettings
from mmedpo.errors import ScoringError
from mmedpo.records import PreferencePair, Turn
from mmedpo.run import run_async, settled

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
    model: str = ""
    """Name and version of the language model that spoke; empty for rules."""
    calls: int = 0
    """Calls it took, repairs included."""
    input_tokens: int = 0
    output_tokens: int = 0


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
    """One debater. Rules answer at once; a language model gives something to wait for.

    Registered as a class without constructor arguments, `@register("agent", NAME)`.
    """

    name: str

    def first(self, case: Case) -> Opinion | Awaitable[Opinion]:
        """Scores a case on which no score stands yet."""
        ...

    def respond(self, case: Case, history: Sequence[Turn]) -> Opinion | Awaitable[Opinion]:
        """Agrees with the standing score (the last one in `history`) or gives another."""
        ...


class AskedAgent(Agent, Protocol):
    """A debater that asks a language model; the registered class is made with the `Line` it speaks through.

    `NAME:ENDPOINT` in `score.agents`; the declaration `asks = True` is what makes it one.
    """

    asks: ClassVar[bool]
    """True."""
    line: Line

    def first_request(self, case: Case) -> ChatRequest:
        """The call of a first score: what an estimate is made from."""
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


@dataclass(frozen=True)
class Asked:
    """Whose turn it is, and what has been said."""

    agent: int
    """Index in speaking order."""
    history: tuple[Turn, ...]
    """Every turn so far, abstentions included."""
    standing: float | None
    """The standing score; None: this agent scores first."""


class Interrupted(Deferred):
    """A debate whose next call was not sent."""

    def __init__(self, reason: str, asked: Asked) -> None:
        super().__init__(reason)
        self.asked = asked
        """Whose turn it is, and what has been said."""


Debate = Generator[Asked, Opinion, DebateResult]
"""A debate that yields whose turn it is, takes the opinion, and returns how it ended."""


@dataclass
class _Floor:
    """State of a running debate."""

    case: Case
    agreement: float
    turns: list[Turn] = field(default_factory=list)
    standing: float | None = None
    supporters: set[str] = field(default_factory=set)

    def hear(self, agent: str, opinion: Opinion, round_number: int) -> None:
        """Records what one agent said."""
        opinion = self._checked(opinion)
        agreed = opinion.kind == "agree" or (opinion.kind == "rescore" and self._near(opinion.score))
        if opinion.kind == "rescore" and not agreed:
            self.standing = opinion.score
            self.supporters = set()
        if opinion.kind != "abstain":
            self.supporters.add(agent)
        self.turns.append(
            Turn(
                pair_id=self.case.pair_id,
                agent=agent,
                round=round_number,
                position=len(self.turns) + 1,
                score=None if opinion.kind == "abstain" else self.standing,
                agreed=agreed,
                reason=opinion.reason,
                raw=opinion.raw,
                model=opinion.model,
                calls=opinion.calls,
                input_tokens=opinion.input_tokens,
                output_tokens=opinion.output_tokens,
            )
        )

    def _near(self, score: float | None) -> bool:
        if score is None or self.standing is None:
            return False
        # Scores are tenths, whose differences are not exact.
        return abs(score - self.standing) <= self.agreement + 1e-9

    def _checked(self, opinion: Opinion) -> Opinion:
        if opinion.kind == "agree" and self.standing is None:
            return replace(opinion, kind="abstain", reason="agreed although no score stands")
        # A comparison with NaN is false, so NaN is refused here as well.
        if opinion.kind == "rescore" and (opinion.score is None or not 0.0 <= opinion.score <= 1.0):
            return replace(opinion, kind="abstain", score=None, reason=f"score {opinion.score} is outside [0, 1]")
        return opinion


def debate_steps(names: Sequence[str], case: Case, rounds: int, agreement: float = 0.0) -> Debate:
    """The protocol alone: no agent, no waiting, no I/O.

    Args:
        names: G_1..G_g in speaking order, distinct; one agent alone is its own consensus.
        case: the texts under debate.
        rounds: r, the most rounds; each agent speaks once a round.
        agreement: a new score as near to the standing one agrees with it, and the standing one stays.

    Raises:
        ScoringError: no agent, two agents of one name, or fewer than one round.
    """
    if not names or len(set(names)) != len(names):
        raise ScoringError(f"debate agents are {list(names)}; at least one is needed and names must differ")
    if rounds < 1:
        raise ScoringError(f"debate rounds is {rounds}; allowed: 1 or more (the paper uses {DEFAULT_ROUNDS})")
    floor = _Floor(case, agreement)
    for round_number in range(1, rounds + 1):
        for index, name in enumerate(names):
            opinion = yield Asked(index, tuple(floor.turns), floor.standing)
            floor.hear(name, opinion, round_number)
            if len(floor.supporters) == len(names):
                return DebateResult(tuple(floor.turns), floor.standing, True, round_number)
    scores = [turn.score for turn in floor.turns if turn.score is not None]
    if not scores:
        last = floor.turns[-1]
        reason = f"every agent abstained; {last.agent}: {last.reason}"
        return DebateResult(tuple(floor.turns), None, False, rounds, reason)
    return DebateResult(tuple(floor.turns), math.fsum(scores) / len(scores), False, rounds)


async def hold_debate(
    agents: Sequence[Agent], case: Case, rounds: int = DEFAULT_ROUNDS, agreement: float = 0.0
) -> DebateResult:
    """Runs one debate, its turns in order, with agents of any kind; see `debate_steps`.

    Raises:
        Interrupted: a call was not sent; it holds where the debate stands.
    """
    steps = debate_steps([agent.name for agent in agents], case, rounds, agreement)
    asked = next(steps)
    while True:
        try:
            opinion = await settled(_opinion(agents[asked.agent], case, asked))
        except Deferred as deferred:
            raise Interrupted(deferred.reason, asked) from None
        try:
            asked = steps.send(opinion)
        except StopIteration as end:
            return cast(DebateResult, end.value)


def debate(agents: Sequence[Agent], case: Case, rounds: int = DEFAULT_ROUNDS, agreement: float = 0.0) -> DebateResult:
    """Runs one debate to its end; see `debate_steps`."""
    return run_async(hold_debate(agents, case, rounds, agreement))


def _opinion(agent: Agent, case: Case, asked: Asked) -> Opinion | Awaitable[Opinion]:
    return agent.first(case) if asked.standing is None else agent.respond(case, asked.history)


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
