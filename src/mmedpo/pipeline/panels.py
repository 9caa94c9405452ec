"""What panels of agents are worth and cost: scores held against the true severity, where a dataset knows it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmedpo.clinical.lexicon import words
from mmedpo.config import stored_settings
from mmedpo.data.dataset import make_dataset
from mmedpo.evaluate.ranks import RankCorrelation, rank_correlation
from mmedpo.records import Example, PreferencePair, Record, Turn
from mmedpo.report.panel import consensus
from mmedpo.run.layout import DEBATES, EXAMPLES, PAIRS, RESOLVED
from mmedpo.storage.tables import read_table


class Panel(Record):
    """One panel over all seeds: a row of the table."""

    name: str
    debates: int
    """Pairs that were debated."""
    unscored: int
    """Of them, without a score."""
    ungraded: int
    """Scored ones whose true severity nobody knows: reports, and answers that the generator cannot write."""
    consensus: float
    """Share of debates that ended in one."""
    turns: float
    """Per debate."""
    calls: float
    """Of a language model, per debate."""
    tokens: float
    """Read and written, per debate."""
    found: RankCorrelation | None
    """Score against true severity; None where there is nothing to order."""


def panel(name: str, folders: Sequence[Path], samples: int) -> Panel:
    """What a panel did in its run folders, one per seed.

    Args:
        name: in the table.
        folders: runs of one recipe, at least as far as `score`.
        samples: resamples of the interval.
    """
    scores: list[float] = []
    truths: list[float] = []
    images: list[str] = []
    held: list[list[Turn]] = []
    unscored = ungraded = ended = 0
    for folder in folders:
        settings = stored_settings(folder / RESOLVED)
        grade = getattr(make_dataset(settings.data), "severity", None)
        examples = {example.example_id: example for example in read_table(folder / EXAMPLES, Example)}
        of_pair: dict[str, list[Turn]] = defaultdict(list)
        for turn in read_table(folder / DEBATES, Turn):
            of_pair[turn.pair_id].append(turn)
        held += of_pair.values()
        ended += sum(consensus(turns, len(settings.score.agents)) for turns in of_pair.values())
        pairs = [pair for pair in read_table(folder / PAIRS, PreferencePair) if pair.pair_id in of_pair]
        unscored += len(of_pair) - len(pairs)
        for pair in pairs:
            known = {} if grade is None else grade(examples[pair.example_id])
            truth = known.get(tuple(words(pair.rejected)))
            if truth is None or pair.score is None:
                ungraded += 1
                continue
            scores.append(pair.score)
            truths.append(truth)
            images.append(pair.image.sha256)
    debates = max(len(held), 1)
    said = [turn for turns in held for turn in turns]
    return Panel(
        name=name,
        debates=len(held),
        unscored=unscored,
        ungraded=ungraded,
        consensus=ended / debates,
        turns=len(said) / debates,
        calls=sum(turn.calls for turn in said) / debates,
        tokens=sum(turn.input_tokens + turn.output_tokens for turn in said) / debates,
        found=rank_correlation(scores, truths, images, samples),
    )


def panel_section(panels: Sequence[Panel]) -> str:
    """The panels as a section of a study's page."""
    graded = any(panel.found for panel in panels)
    told = (
        "Rank correlation of the panel's score with the true severity of what the rejected answer gets wrong "
        "(`mmedpo.data.phantom.severity`, drawn by the generator; no agent sees it). 95 % intervals: images resampled."
        if graded
        else "The true severity of an error is known of generated data only; here is what the panels cost."
    )
    lines = [
        "## Panels: score quality and cost",
        "",
        told,
        "",
        "| panel | Kendall's tau-b | Spearman's rho | graded | consensus | turns | calls | tokens |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in panels:
        found = one.found
        tau = rho = "not known" if not one.debates or one.ungraded == one.debates else "all alike"
        if found is not None:
            tau = f"{found.tau:.3f} ({found.tau_low:.3f} to {found.tau_high:.3f})"
            rho = f"{found.rho:.3f} ({found.rho_low:.3f} to {found.rho_high:.3f})"
        graded_of = f"{one.debates - one.unscored - one.ungraded} of {one.debates}"
        cost = f"{one.consensus:.0%} | {one.turns:.2f} | {one.calls:.2f} | {one.tokens:.0f}"
        lines.append(f"| {one.name} | {tau} | {rho} | {graded_of} | {cost} |")
    lines += ["", "Turns, calls of a language model and tokens are per debate; rules take no calls."]
    return "\n".join(lines)
