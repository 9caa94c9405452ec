"""Who judged and debated, and at what price: the pieces of a report's content that speak of agents and endpoints."""

from __future__ import annotations

from mmedpo.records import Turn
from mmedpo.report.parts import Measured, Part


class ReasonCount(Part):
    """How often something happened for one reason."""

    reason: str
    count: int


class Effort(Part):
    """What a judge or an agent took on average, whether its answers came from a model or from the cache."""

    calls: Measured = None
    """Calls of a language model; None for rules."""
    input_tokens: Measured = None
    """Tokens those calls read."""
    output_tokens: Measured = None
    """Tokens they wrote."""


class AgentRow(Part):
    """One agent over all debates."""

    agent: str
    models: tuple[ReasonCount, ...] = ()
    """Models as their server names them, with the turns of each; empty for rules."""
    turns: int
    agreed: int
    rescored: int
    """First scores and different scores."""
    abstained: int
    abstentions: tuple[ReasonCount, ...] = ()
    """Why it abstained, the most frequent reason first."""
    per_debate: Effort = Effort()


class Panel(Part):
    """All debates of a run, counted."""

    agents: tuple[AgentRow, ...]
    together: Effort = Effort()
    """All agents, per debate."""
    debates: int
    consensus: tuple[tuple[int, int], ...] = ()
    """(round, debates that ended there by consensus), rounds in order."""
    means: int = 0
    """Debates that ended with the mean of the history."""
    unscored: tuple[ReasonCount, ...] = ()
    """Debates without a score, by reason."""


class JudgeRow(Part):
    """One judge over all questions."""

    judge: str
    models: tuple[ReasonCount, ...] = ()
    """Models as their server names them, with the questions of each; empty for rules."""
    questions: int
    picked: int
    """From the model's own answers."""
    injected: int
    """Written by the judge."""
    dropped: int
    reasons: tuple[ReasonCount, ...] = ()
    """Why questions were dropped, the most frequent reason first."""
    own_chosen: int = 0
    """Questions whose preferred answer is a candidate as well, and not the ground truth."""
    per_question: Effort = Effort()


class CallCost(Part):
    """What one endpoint has cost this run."""

    endpoint: str
    calls: int
    """Answered calls this run paid for."""
    attempts: int
    """Tries they took."""
    input_tokens: int
    output_tokens: int
    estimated: int = 0
    """Calls whose tokens are estimates, because the server reported none."""
    usd: Measured = None
    """US dollars; None where calls are not paid for by token."""
    failures: tuple[ReasonCount, ...] = ()
    """Failed attempts by reason."""


class Debate(Part):
    """One clinical debate in full."""

    pair_id: str
    question: str = ""
    chosen: str = ""
    rejected: str = ""
    turns: tuple[Turn, ...]
    score: Measured = None
    """Final score; None when the debate gave none."""
    weight: Measured = None
    outcome: str = ""
    """E.g. `consensus in round 2`, `mean after 5 rounds`, `unscored: ...`."""
