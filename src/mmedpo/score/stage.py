"""The `score` stage: clinical relevance by debate or tool confidence, then weights (paper, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmedpo.records import PreferencePair, Record, Turn
from mmedpo.registry import lookup
from mmedpo.run import Run
from mmedpo.score.debate import Agent, case_of, debate, scored
from mmedpo.score.weights import WeightReport, weigh_pairs
from mmedpo.tables import read_table, write_table

CHUNK = 500


class SourceWeights(Record):
    """How the weights of one source of scores came out."""

    source: str
    """`text` or `visual`: statistics are taken per source."""
    pairs: int
    """Scored pairs."""
    mean: float
    """Mean of the raw scores."""
    std: float
    """Population standard deviation of the raw scores."""
    at_lower: int
    """Weights on the lower bound."""
    at_upper: int
    """Weights on the upper bound."""
    warnings: tuple[str, ...] = ()
    """What the user must know of them."""


def score(run: Run) -> list[PreferencePair]:
    """Debates every unscored text pair, keeps the tool's confidence of visual pairs, and derives weights.

    Reads `curated.parquet`; writes `debates.parquet` (every turn), `weights.parquet` (per source) and
    `pairs.parquet` (raw score and weight apart). Pairs without a score are counted drops unless
    `score.unscored` is `mu`.
    """
    settings = run.settings.score
    pairs = run.read("curated.parquet", PreferencePair)
    turns: list[Turn] = []
    if run.settings.preferences is None and settings.weights != "none":
        pairs, turns = _debate(run, pairs)
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
    run.write("debates.parquet", Turn, turns)
    run.write("weights.parquet", SourceWeights, [_summary(*item) for item in weighed.reports.items()])
    run.write("pairs.parquet", PreferencePair, weighed.pairs)
    run.write_drops(weighed.drops)
    run.message(f"{len(weighed.pairs)} pairs weighted by mode {settings.weights!r}, {len(weighed.drops)} unscored")
    return list(weighed.pairs)


def _debate(run: Run, pairs: Sequence[PreferencePair]) -> tuple[list[PreferencePair], list[Turn]]:
    agents: list[Agent] = [lookup("agent", name)() for name in run.settings.score.agents]
    unscored = [pair for pair in pairs if pair.kind == "text" and pair.score is None]
    advance = run.track("debating")
    results: dict[str, PreferencePair] = {}
    turns: list[Turn] = []
    for start in range(0, len(unscored), CHUNK):
        chunk = unscored[start : start + CHUNK]
        turn_file = run.work_folder / f"turns-{start:08d}.parquet"
        pair_file = run.work_folder / f"pairs-{start:08d}.parquet"
        if not pair_file.exists():
            outcomes = [(pair, debate(agents, case_of(pair), run.settings.score.rounds)) for pair in chunk]
            write_table(turn_file, Turn, [turn for _, outcome in outcomes for turn in outcome.turns])
            write_table(pair_file, PreferencePair, [scored(pair, outcome) for pair, outcome in outcomes])
        turns += read_table(turn_file, Turn)
        results.update((pair.pair_id, pair) for pair in read_table(pair_file, PreferencePair))
        advance(start + len(chunk), len(unscored))
    return [results.get(pair.pair_id, pair) for pair in pairs], turns


def _summary(source: str, report: WeightReport) -> SourceWeights:
    fields: dict[str, Any] = {
        name: getattr(report, name) for name in ("mean", "std", "at_lower", "at_upper", "warnings")
    }
    return SourceWeights(source=source, pairs=len(report.weights), **fields)
