"""The sentences a reader takes away, written from intervals and from nothing else.

A change is claimed only when its interval lies wholly on one side of 0. Otherwise the sentence says that no
difference was shown, which is not the same as saying that there is none. Where several comparisons stand together and
Holm's correction takes the claim back, the sentence says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from mmedpo.report.content import Comparison, Metric

Direction = Literal["up", "down", "none", "unknown"]

NOTHING_STORED = "No evaluation is stored in this run, so nothing is claimed."
CORRECTION = "Holm's correction"
LONGEST_HEAD = 24
"""Characters of a model's name that may head a column of numbers."""
NO_COMPARISON = "No arm was compared with a baseline, so no change is claimed."


def direction(comparison: Comparison) -> Direction:
    """`up` or `down` when the interval excludes 0, `none` when it includes 0, `unknown` without an interval."""
    low, high = comparison.difference.low, comparison.difference.high
    if low is None or high is None or comparison.difference.value is None:
        return "unknown"
    return "up" if low > 0 else "down" if high < 0 else "none"


def tone(comparison: Comparison, metric: Metric) -> Literal["better", "worse", "plain"]:
    """Whether a shown change is good; `plain` when none is shown or neither direction is good."""
    shown = direction(comparison)
    if metric.higher_is_better is None or shown in ("none", "unknown"):
        return "plain"
    return "better" if (shown == "up") == metric.higher_is_better else "worse"


class Headline(NamedTuple):
    """One comparison that the page opens with."""

    comparison: Comparison
    metric: Metric
    level: float = 0.95
    """Coverage of its interval."""
    row: str = ""
    """Of a probe: name of its row in the table, `lesion reliance, nats`."""

    @property
    def name(self) -> str:
        """As a sentence says it: what is long stands with the probe."""
        return self.row.rpartition(", ")[0] or self.metric.name


def verdict_sentences(headlines: Sequence[Headline]) -> list[str]:
    """A sentence for the split, and one for the probes: what rose, fell, or was not shown to differ.

    Several baselines or splits get one each.

    The direction comes from the interval and its correction alone; the numbers stand in the table below.
    """
    several = len({(item.comparison.arm, item.comparison.baseline) for item in headlines}) > 1
    together: dict[str, list[Headline]] = {}
    for item in headlines:
        opening = "By the probes, " if item.row else f"On {item.metric.split}, " if item.metric.split else ""
        opening += f"against {item.comparison.baseline}: " if several else ""
        together.setdefault(opening, []).append(item)
    say = _of_several if several else _of_one
    return [sentence(opening + "; ".join(say(items))) for opening, items in together.items()]


def table_rows(headlines: Sequence[Headline]) -> list[Headline]:
    """What the small table holds: all of one model; of several the first of each, and those with a change."""
    arms = dict.fromkeys(item.comparison.arm for item in headlines)
    if len(arms) < 2:
        return list(headlines)
    first = [next(item for item in headlines if item.comparison.arm == arm) for arm in arms]
    return [item for item in headlines if item in first or direction(item.comparison) in ("up", "down")]


def _of_one(items: Sequence[Headline]) -> list[str]:
    claims: dict[tuple[str, str], list[str]] = {}
    for item in items:
        claims.setdefault(_claim(item), []).append(item.name)
    return [f"{before}{_listed(names)}{after}" for (before, after), names in claims.items()]


def _of_several(items: Sequence[Headline]) -> list[str]:
    """Every change with the models that show it, and that there is no other."""
    changes: dict[tuple[str, str, str], list[str]] = {}
    for item in items:
        if direction(item.comparison) in ("up", "down"):
            changes.setdefault((item.name, *_change(item)), []).append(item.comparison.arm)
    alike: dict[tuple[str, str, str], list[str]] = {}
    for (metric, verb, tail), arms in changes.items():
        alike.setdefault((verb, _listed(arms), tail), []).append(metric)
    told = [f"{_listed(metrics)}{verb} for {arms}{tail}" for (verb, arms, tail), metrics in alike.items()]
    if any(direction(item.comparison) not in ("up", "down") for item in items):
        told.append(f"no {'other ' if told else ''}difference shown")
    return told


def _claim(item: Headline) -> tuple[str, str]:
    """The words before and after the names of the metrics of which the same is claimed."""
    shown = direction(item.comparison)
    if shown == "unknown":
        return "no change is claimed without an interval for ", ""
    if shown == "none":
        return "no difference shown in ", ""
    return "", "".join(_change(item))


def _change(item: Headline) -> tuple[str, str]:
    """The verb of a shown change, and what is to be said of it."""
    verb = " rose" if direction(item.comparison) == "up" else " fell"
    worse = ", which is worse" if tone(item.comparison, item.metric) == "worse" else ""
    if survives(item.comparison, item.level):
        return verb, worse
    return verb, f"{worse or ', which'}{' and which' if worse else ''} {CORRECTION} does not confirm"


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def survives(comparison: Comparison, coverage: float) -> bool:
    """Whether a shown change is still shown after the correction; True where no correction was computed."""
    return comparison.adjusted is None or comparison.adjusted <= 1 - coverage + 1e-12


def heads_of(comparisons: Sequence[Comparison]) -> tuple[str, str]:
    """Heads of the columns of both means: with several models nothing is before or after."""
    baselines = {item.baseline for item in comparisons}
    if len({item.arm for item in comparisons}) < 2 or len(baselines) > 1:
        return "before", "after"
    (baseline,) = baselines
    return baseline if len(baseline) <= LONGEST_HEAD else "the first", "this model"


def headlines_of(comparisons: Sequence[Comparison], limit: int = 4) -> tuple[Comparison, ...]:
    """Comparisons the verdict speaks of: those marked `headline`, else the first `limit`."""
    marked = tuple(comparison for comparison in comparisons if comparison.headline)
    return marked or tuple(comparisons[:limit])


def multiplicity_note(comparisons: tuple[Comparison, ...], coverage: float) -> str:
    """How many intervals exclude 0, and how many would by chance; empty below five comparisons."""
    judged = [direction(item) for item in comparisons if direction(item) != "unknown"]
    if len(judged) < 5:
        return ""
    shown = [item for item in comparisons if direction(item) in ("up", "down")]
    expected = len(judged) * (1 - coverage)
    by_chance = f"about {expected:.1f} would by chance if nothing had changed"
    note = f"{len(shown)} of {len(judged)} intervals exclude 0; {by_chance}."
    if all(item.adjusted is None for item in comparisons):
        return f"{note} The intervals are not adjusted for the number of comparisons."
    kept = sum(survives(item, coverage) for item in shown)
    return f"{note} The intervals are those of single comparisons; {kept} hold after {CORRECTION} for all of them."


def sentence(clause: str) -> str:
    """The clause with a capital and a full stop."""
    return clause[0].upper() + clause[1:] + "."
