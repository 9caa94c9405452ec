"""The report's judges, agents and endpoints: what they decided, took and cost. Pure, from stored tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mmedpo.records import JudgedAnswers, PreferencePair, Turn, Verdict
from mmedpo.report import speakers as c
from mmedpo.report.stored import Stored

REASONS = 4
"""Reasons told apart in one cell; the rarer ones are counted together."""


def panel(stored: Stored) -> c.Panel | None:
    """Agents and endings of all debates; None when nothing was debated."""
    debates = debated(stored)
    if not debates:
        return None
    turns = [turn for said in debates.values() for turn in said]
    of_agent: dict[str, list[Turn]] = defaultdict(list)
    for turn in turns:
        of_agent[turn.agent].append(turn)
    pairs, reasons = pairs_of(stored), unscored_reasons(stored)
    ends, unscored = Counter[int](), Counter[str]()
    for name, said in debates.items():
        if pairs[name].score is None:
            unscored[reasons[name]] += 1
        else:
            ends[said[-1].round if consensus(said, len(of_agent)) else 0] += 1
    return c.Panel(
        agents=tuple(_agent(name, said, len(debates)) for name, said in of_agent.items()),
        together=_effort(turns, len(debates)),
        debates=len(debates),
        consensus=tuple((number, ends[number]) for number in sorted(ends) if number),
        means=ends[0],
        unscored=most_frequent(unscored),
    )


def judges(verdicts: Sequence[Verdict]) -> tuple[c.JudgeRow, ...]:
    """How each judge settled its questions."""
    of_judge: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        of_judge[verdict.judge].append(verdict)
    return tuple(_judge(name, settled) for name, settled in of_judge.items())


def call_costs(stored: Stored) -> tuple[tuple[c.CallCost, ...], str]:
    """What each endpoint has cost this run, and a line on what that holds; empty where no model was called."""
    said: list[Turn | Verdict | JudgedAnswers] = [*stored.turns, *stored.verdicts.values(), *stored.judged]
    asked = any(one.calls for one in said)
    if not stored.costs:
        return (), "Every answer came from the cache: this run paid for no call." if asked else ""
    known = stored.settings.chat.endpoints
    rows = tuple(
        c.CallCost(
            endpoint=item.endpoint,
            calls=item.calls,
            attempts=item.attempts,
            input_tokens=item.input_tokens,
            output_tokens=item.output_tokens,
            estimated=item.estimated,
            usd=item.usd if item.usd or (item.endpoint in known and known[item.endpoint].priced) else None,
            failures=tuple(c.ReasonCount(reason=reason, count=number) for reason, number in item.failures),
        )
        for item in stored.costs
    )
    return rows, (
        "Calls this run paid for, over all its stages and attempts to resume. Answers that were in the cache are not "
        "among them; attempts that failed are counted without tokens, though a provider may have billed them."
    )


def debated(stored: Stored) -> Mapping[str, Sequence[Turn]]:
    """The turns of each debate whose pair is known, in order."""
    pairs = pairs_of(stored)
    turns: dict[str, list[Turn]] = defaultdict(list)
    for turn in stored.turns:
        if turn.pair_id in pairs:
            turns[turn.pair_id].append(turn)
    return turns


def pairs_of(stored: Stored) -> Mapping[str, PreferencePair]:
    """Every pair by its id: scored and weighted where it was, otherwise as it was curated."""
    return {pair.pair_id: pair for pair in (*stored.curated, *stored.pairs)}


def unscored_reasons(stored: Stored) -> Mapping[str, str]:
    """Why each pair without a score has none; a pair that was left out for it says so in its drop only."""
    told = {drop.item: drop.detail for drop in stored.drops if drop.stage == "score"}
    return {
        name: pair.unscored_reason or told.get(name) or "no reason recorded"
        for name, pair in pairs_of(stored).items()
        if pair.score is None
    }


def consensus(turns: Sequence[Turn], agents: int) -> bool:
    """Whether every agent stood behind the last score, in sequence; abstentions neither help nor break it."""
    behind: set[str] = set()
    for turn in turns:
        if turn.score is not None:
            behind = behind | {turn.agent} if turn.agreed else {turn.agent}
    return len(behind) == agents


def most_frequent(counts: Counter[str], most: int = REASONS) -> tuple[c.ReasonCount, ...]:
    """Reasons, the most frequent first; those beyond `most` in one entry."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ordered if len(ordered) <= most else ordered[: most - 1]
    rest = ordered[len(shown) :]
    if rest:
        shown = [*shown, ("other reasons", sum(number for _, number in rest))]
    return tuple(c.ReasonCount(reason=reason, count=number) for reason, number in shown)


def _agent(name: str, turns: Sequence[Turn], debates: int) -> c.AgentRow:
    silent = [turn for turn in turns if turn.score is None]
    agreed = sum(turn.agreed for turn in turns)
    return c.AgentRow(
        agent=name,
        models=_models(turns),
        turns=len(turns),
        agreed=agreed,
        rescored=len(turns) - len(silent) - agreed,
        abstained=len(silent),
        abstentions=most_frequent(Counter(turn.reason or "no reason recorded" for turn in silent)),
        per_debate=_effort(turns, debates),
    )


def _judge(name: str, verdicts: Sequence[Verdict]) -> c.JudgeRow:
    outcomes = Counter(str(verdict.outcome) for verdict in verdicts)
    dropped = Counter(verdict.reason or "no reason recorded" for verdict in verdicts if verdict.outcome == "dropped")
    return c.JudgeRow(
        judge=name,
        models=_models(verdicts),
        questions=len(verdicts),
        picked=outcomes["picked"],
        injected=outcomes["injected"],
        dropped=outcomes["dropped"],
        reasons=most_frequent(dropped),
        own_chosen=sum(bool(verdict.chosen) for verdict in verdicts),
        per_question=_effort(verdicts, len(verdicts)),
    )


def _models(spoken: Sequence[Turn] | Sequence[Verdict]) -> tuple[c.ReasonCount, ...]:
    return most_frequent(Counter(item.model for item in spoken if item.model))


def _effort(spoken: Iterable[Turn] | Iterable[Verdict], items: int) -> c.Effort:
    """Means over the items; nothing where no language model spoke."""
    calls = read = written = 0
    for item in spoken:
        calls, read, written = calls + item.calls, read + item.input_tokens, written + item.output_tokens
    if not calls:
        return c.Effort()
    return c.Effort(calls=calls / items, input_tokens=read / items, output_tokens=written / items)
