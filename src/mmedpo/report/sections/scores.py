"""Scores and weights: of every kind of pair, the agents that debated them, and some debates in full."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mmedpo.config import UNWEIGHTED
from mmedpo.records import Turn
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.formatting import count
from mmedpo.report.head import clipped, weighting
from mmedpo.report.panel import consensus, debated, pairs_of, panel, unscored_reasons
from mmedpo.report.parts import Measured, Part
from mmedpo.report.pictures import shuffled
from mmedpo.report.section import Section, svg
from mmedpo.report.speakers import Debate, Panel
from mmedpo.report.stored import Stored
from mmedpo.run import Run


class ScoreSource(Part):
    """Raw scores and derived weights of one source (debate, a grounder, imported)."""

    source: str
    scores: tuple[Measured, ...] = ()
    """Raw scores in [0, 1], one per pair; None while unscored."""
    weights: tuple[Measured, ...] = ()
    """Derived weights, one per pair; None where there is none."""
    lower: float | None = None
    """Lower bound of the clip."""
    upper: float | None = None
    """Upper bound of the clip."""
    at_lower: Measured = None
    """Share of weights on the lower bound, in [0, 1]."""
    at_upper: Measured = None
    """Share of weights on the upper bound, in [0, 1]."""
    warnings: tuple[str, ...] = ()


class FactorLine(Part):
    """How much one factor moved the weights."""

    name: str
    pairs: int
    lowest: float
    highest: float
    moved: float
    """Mean of |factor - 1|."""


class Scores(Part):
    """Clinical relevance scores and weights."""

    sources: tuple[ScoreSource, ...] = ()
    factors: tuple[FactorLine, ...] = ()
    panel: Panel | None = None
    debates: tuple[Debate, ...] = ()
    mode: str = ""
    """Weighting mode, e.g. `rescale to mean 1, variance 0.1, clipped to [0.75, 1.25]`."""


@register("section", "scores")
class ScoresSection(Section[Scores]):
    """Scores and weights."""

    heading = "Scores and weights"
    order = 700
    template = "scores.html.j2"

    def gather(self, run: Run, stored: Stored) -> Scores | None:
        """None when nothing was scored."""
        found = Scores(
            sources=score_sources(stored),
            factors=factor_lines(stored),
            panel=panel(stored),
            debates=debates(stored),
            mode=weighting(stored.settings.score),
        )
        return found if found.sources or found.factors or found.panel or found.debates else None

    def draw(self, part: Scores) -> Mapping[str, object]:
        """Histograms of scores and weights, for every source."""
        return {"sources": [(source, [svg(plot) for plot in score_plots(source)]) for source in part.sources]}


def score_sources(stored: Stored) -> tuple[ScoreSource, ...]:
    """Raw scores and weights per kind of pair; an unscored pair counts as such, also when it was then dropped."""
    final = {pair.pair_id: pair for pair in stored.pairs}
    settings = stored.settings.score
    bounded = clipped(settings)
    sources = []
    for kind in ("text", "visual"):
        pairs = [final.get(pair.pair_id, pair) for pair in stored.curated or stored.pairs if pair.kind == kind]
        if not pairs:
            continue
        given = " and ".join(sorted({pair.score_source for pair in pairs if pair.score_source}))
        reports = [report for report in stored.weights if report.source.partition(" ")[0] == kind]
        weighed = sum(report.pairs for report in reports)
        scored = any(pair.score is not None for pair in pairs)
        if not scored and settings.weights == UNWEIGHTED:
            continue
        sources.append(
            ScoreSource(
                source=f"{kind} pairs: {given or 'not scored'}",
                scores=tuple(pair.score for pair in pairs) if scored else (),
                weights=tuple(pair.weight for pair in pairs if pair.pair_id in final)
                if settings.weights != UNWEIGHTED
                else (),
                lower=settings.lower if bounded else None,
                upper=settings.upper if bounded else None,
                at_lower=sum(report.at_lower for report in reports) / weighed if weighed and bounded else None,
                at_upper=sum(report.at_upper for report in reports) / weighed if weighed and bounded else None,
                warnings=(
                    *(text for report in reports for text in report.warnings),
                    *_calibration(stored, kind, given),
                ),
            )
        )
    return tuple(sources)


FACTOR_OF = {"text": "clinical relevance", "visual": "tool confidence"}
"""What the weight of a kind of pair is derived from."""


def factor_lines(stored: Stored) -> tuple[FactorLine, ...]:
    """Every factor that some pair's weight was multiplied by, with how far it moved the weights."""
    values: dict[str, list[float]] = {}
    for pair in stored.pairs if stored.settings.score.weights != UNWEIGHTED else ():
        if pair.kind in FACTOR_OF and pair.weight is not None:
            values.setdefault(FACTOR_OF[pair.kind], []).append(pair.weight)
    for row in stored.factors:
        values.setdefault(row.factor, []).append(row.value)
    return tuple(
        FactorLine(
            name=name,
            pairs=len(found),
            lowest=min(found),
            highest=max(found),
            moved=sum(abs(value - 1) for value in found) / len(found),
        )
        for name, found in values.items()
    )


def _calibration(stored: Stored, kind: str, given: str) -> tuple[str, ...]:
    loose = [item for item in stored.groundings if item.confidence is not None and not item.calibrated]
    if kind != "visual" or not loose:
        return ()
    return (f"the confidence of {given or 'the tool'} is not calibrated for {count(len(loose))} images",)


def debates(stored: Stored) -> tuple[Debate, ...]:
    """A few whole debates: agreed in round 1, the longest, the highest score, one with an abstention; each once."""
    turns, pairs, reasons = debated(stored), pairs_of(stored), unscored_reasons(stored)
    ids = shuffled(turns, stored.settings.seed, "debates", str)
    agents = len({turn.agent for turn in stored.turns})

    def quick(name: str) -> bool:
        return turns[name][-1].round == 1 and consensus(turns[name], agents)

    chosen: dict[str, str] = {}
    for why, candidates in (
        ("agreed at once", [name for name in ids if quick(name)]),
        ("the longest", sorted(ids, key=lambda name: -len(turns[name]))),
        ("the highest score", sorted(ids, key=lambda name: -(pairs[name].score or 0.0))),
        ("one with an abstention", [name for name in ids if any(turn.score is None for turn in turns[name])]),
    ):
        fresh = next((name for name in candidates if name not in chosen), None)
        if fresh is not None:
            chosen[fresh] = why
    return tuple(
        Debate(
            pair_id=name,
            question=pairs[name].question,
            chosen=pairs[name].chosen,
            rejected=pairs[name].rejected,
            turns=tuple(turns[name]),
            score=pairs[name].score,
            weight=pairs[name].weight,
            outcome=f"{_outcome(turns[name], agents, reasons.get(name, ''))} (shown as {why})",
        )
        for name, why in chosen.items()
    )


def _outcome(turns: Sequence[Turn], agents: int, unscored: str) -> str:
    """How a debate ended, in words."""
    if unscored:
        return f"unscored: {unscored}"
    rounds = turns[-1].round
    return f"consensus in round {rounds}" if consensus(turns, agents) else f"mean after {rounds} rounds"


def score_plots(source: ScoreSource) -> list[str]:
    """One histogram of the scores and one of the weights, where there are any."""
    return [
        *([score_plot(source)] if source.scores else []),
        *([weight_plot(source)] if source.weights else []),
    ]


def score_plot(source: ScoreSource) -> str:
    """Histogram of raw scores; bins are centred on multiples of 0.05, so that x/10 scores stand in their middle."""
    known = [value for value in source.scores if value is not None]
    first, last = math.floor(min([0.0, *known]) * 20 + 0.5), math.floor(max([1.0, *known]) * 20 + 0.5)
    edges = [(index - 0.5) / 20 for index in range(first, last + 2)]
    return figures.histogram(source.scores, edges, title=f"Raw scores, {source.source}", x_label="raw score")


def weight_plot(source: ScoreSource) -> str:
    """Histogram of weights in 20 bins, with the bounds of the clip marked."""
    bounds = [(source.lower, "lower bound"), (source.upper, "upper bound")]
    markers = [figures.Marker(bound, text) for bound, text in bounds if bound is not None]
    known = [x for x in source.weights if x is not None] + [marker.x for marker in markers]
    edges = figures.equal_bins(min(known), max(known), 20) if known else [0.0, 1.0]
    return figures.histogram(
        source.weights, edges, title=f"Weights, {source.source}", x_label="weight s′", markers=markers, series=2
    )
