"""The `score` stage: clinical relevance by debate or tool confidence, then weights (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeGuard

from mmedpo.chat.estimate import Ahead, Estimate, estimate
from mmedpo.chat.identity import asked_models
from mmedpo.chat.opening import Chat, open_chat
from mmedpo.config import RunSettings, ScoreSettings, speaker
from mmedpo.records import Debated, PreferencePair, SourceWeights, Turn
from mmedpo.run import ItemWork, Run, Stage, picked, run_async
from mmedpo.run.layout import CURATED, DEBATES, PAIRS, WEIGHTS
from mmedpo.score.debate import Agent, Asked, AskedAgent, Case, Interrupted, case_of, hold_debate, scored
from mmedpo.score.weights import WeightReport, weigh_pairs
from mmedpo.storage.held import Held

CHUNK = 500


LONGEST_TURN = 150
"""Tokens by which a further turn can lengthen what the next agent reads."""


def stage(settings: RunSettings) -> Stage:
    """What scoring is made from."""
    return Stage(
        "score",
        score,
        {
            **picked(settings, "score"),
            "imported": settings.preferences is not None,
            **asked_models(settings, "score"),
        },
        reads=(CURATED,),
        writes=(DEBATES, WEIGHTS, PAIRS),
    )


def score(run: Run) -> Sequence[PreferencePair]:
    """Debates every unscored text pair, keeps the tool's confidence of visual pairs, and derives weights.

    Of imported pairs, `score.rescore` says which are debated; the file's own scores stay in `curated.parquet`.
    Reads `curated.parquet`; writes `debates.parquet` (every turn), `weights.parquet` (per source) and
    `pairs.parquet` (raw score and weight apart). Pairs without a score are counted drops unless
    `score.unscored` is `mu`.
    """
    settings = run.settings.score
    pairs, turns = Held(PreferencePair, run.stored(CURATED, PreferencePair)), Held(Turn)
    if run.settings.debates:
        pairs = Held(PreferencePair, _settled(pairs, _debate(run, pairs), turns))
    weighed = weigh_pairs(
        pairs,
        mode=settings.weights,
        mu=settings.mu,
        sigma=settings.sigma,
        lower=settings.lower,
        upper=settings.upper,
        unscored=settings.unscored,
    )
    for source, report in weighed.reports.items():
        for warning in report.warnings:
            run.message(f"{source} weights: {warning}")
    run.write(DEBATES, Turn, turns)
    run.write(WEIGHTS, SourceWeights, [_summary(*item) for item in weighed.reports.items()])
    run.write(PAIRS, PreferencePair, weighed.pairs)
    run.write_drops(weighed.drops)
    run.message(f"{len(weighed.pairs)} pairs weighted by mode {settings.weights!r}, {len(weighed.drops)} unscored")
    return weighed.pairs


def _debate(run: Run, pairs: Iterable[PreferencePair]) -> Iterable[Debated]:
    every = run.settings.score.rescore == "all"
    wanted = (pair for pair in pairs if pair.kind == "text" and (every or pair.score is None))
    chosen = Held(PreferencePair, wanted)
    if run.settings.used_endpoints("score"):
        run_async(_check_estimate(run, chosen))
    return run.stream("debating", chosen, CHUNK, partial(debating, run), Debated)


def _settled(
    pairs: Iterable[PreferencePair], debated: Iterable[Debated], turns: Held[Turn]
) -> Iterator[PreferencePair]:
    """The pairs, each as its debate left it; notes what was said.

    Debates are those of some of the pairs, in their order.
    """
    left = iter(debated)
    ahead = next(left, None)
    for pair in pairs:
        if ahead is not None and ahead.pair.pair_id == pair.pair_id:
            turns.extend(ahead.turns)
            yield ahead.pair
            ahead = next(left, None)
        else:
            yield pair


@asynccontextmanager
async def debating(run: Run) -> AsyncIterator[ItemWork[PreferencePair, Debated]]:
    """The panel of a run, open: debates many pairs at once, the turns of each in order."""
    async with open_chat(run, run.settings.used_endpoints("score")) as chat:
        agents, settings = _panel(run, chat), run.settings.score

        async def hold(pair: PreferencePair) -> Debated:
            outcome = await hold_debate(agents, case_of(pair), settings.rounds, settings.agreement)
            return Debated(pair=scored(pair, outcome), turns=outcome.turns)

        async with chat.items(hold) as work:
            yield work


def _panel(run: Run, chat: Chat) -> list[Agent]:
    return [_agent(name, chat) for name in run.settings.score.agents]


async def _check_estimate(run: Run, pairs: Sequence[PreferencePair]) -> None:
    async with open_chat(run, run.settings.used_endpoints("score"), sends=False) as chat:
        chat.check_estimate(await _estimates(chat, _panel(run, chat), pairs, run.settings.score))


async def _estimates(
    chat: Chat, agents: Sequence[Agent], pairs: Sequence[PreferencePair], settings: ScoreSettings
) -> list[Estimate]:
    """What is still to be asked: every debate is held as far as the cache and the rules carry it."""
    stopped: list[tuple[int, Asked]] = []
    with chat.cache_only():
        for place, pair in enumerate(pairs):
            try:
                await hold_debate(agents, case_of(pair), settings.rounds, settings.agreement)
            except Interrupted as stop:
                stopped.append((place, stop.asked))
    return [
        estimate(
            agent.line,
            (
                ahead
                for place, asked in stopped
                if (ahead := _ahead(agent, index, case_of(pairs[place]), asked, settings.rounds)) is not None
            ),
            LONGEST_TURN,
            len(pairs) - len(stopped),
        )
        for index, agent in enumerate(agents)
        if _asks(agent)
    ]


def _asks(agent: Agent) -> TypeGuard[AskedAgent]:
    return bool(getattr(agent, "asks", False))


def _ahead(agent: AskedAgent, index: int, case: Case, asked: Asked, rounds: int) -> Ahead | None:
    """An agent is certain to speak when it is its turn, or when it has not spoken: consensus needs everybody."""
    spoken = sum(turn.agent == agent.name for turn in asked.history)
    certain = index == asked.agent or not spoken
    left = rounds - spoken
    return Ahead(agent.first_request(case), int(certain), left) if left else None


def _agent(name: str, chat: Chat) -> Agent:
    """An agent by its name in the recipe.

    Raises:
        ConfigError: unknown, no endpoint where it needs one, or one where it takes none.
    """
    kind, endpoint = speaker("agent", name, "score.agents")
    agent: Agent = kind(chat.lines[endpoint]) if endpoint else kind()
    return agent


def _summary(source: str, report: WeightReport) -> SourceWeights:
    fields: dict[str, Any] = {
        name: getattr(report, name) for name in ("mean", "std", "at_lower", "at_upper", "warnings")
    }
    return SourceWeights(source=source, pairs=len(report.weights), **fields)
