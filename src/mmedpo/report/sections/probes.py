"""Probes: what every one without a picture of its own found, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from mmedpo.records import ProbePart, ProbeSummary
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Comparison, Interval, Metric
from mmedpo.report.formatting import number
from mmedpo.report.parts import Part
from mmedpo.report.section import NARROW, WIDE, Section, sections, svg
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import Headline
from mmedpo.run import Run

NATS = "nats"
"""The one unit that is no share."""


class ProbeRow(Part):
    """One quantity of one probe for one model."""

    quantity: str
    model: str
    mean: Interval
    difference: Interval | None = None
    """To the first model; None for the first itself."""
    adjusted: float | None = None
    """Adjusted p-value of the difference."""


class OneProbe(Part):
    """One probe: its headline first."""

    title: str
    about: str
    unit: str
    questions: int
    metric: Metric
    rows: tuple[ProbeRow, ...]
    comparison: Comparison | None = None
    """The headline of the last model against the first."""


class Probes(Part):
    """Does the model look at the image? Before against after tuning."""

    probes: tuple[OneProbe, ...]
    changes: tuple[OneProbe, ...] = ()
    """All probes that were compared, those with a picture of their own included."""
    in_score: frozenset[str] = frozenset()
    """Names of those that the score of looking speaks for where the page opens."""
    level: float = 0.95


@register("section", "probes")
class ProbesSection(Section[Probes]):
    """Further probes."""

    heading = "Does the model look at the image?"
    order = 210
    template = "probes.html.j2"

    def gather(self, run: Run, stored: Stored) -> Probes | None:
        """None when no such probe was measured."""
        drawn = {section.probe for section in sections().values()}
        found = stored.evaluation.probes if stored.evaluation else ()
        told = [(summary.probe, one_probe(summary)) for summary in found]
        every = tuple(probe for _, probe in told if probe is not None)
        probes = tuple(probe for name, probe in told if probe is not None and name not in drawn)
        if not probes:
            return None
        score = stored.evaluation.looks if stored.evaluation else None
        spoken = frozenset(part.probe for part in score.parts) if score and score.means else frozenset()
        return Probes(probes=probes, changes=tuple(p for p in every if p.comparison), in_score=spoken)

    def draw(self, part: Probes) -> Mapping[str, object]:
        """What tuning changed by probe, then the headlines of all models; one plot for each unit."""
        changes = [_both(changed, part, unit) for unit in _units(part.changes)]
        return {"changes": changes, "plots": [_both(headlines, part, unit) for unit in _units(part.probes)]}

    def compares(self, part: Probes) -> Sequence[Headline]:
        """The headline of each that no score speaks for."""
        return [
            Headline(probe.comparison, probe.metric, part.level, row=f"{probe.title.lower()}, {_unit(probe)}")
            for probe in part.probes
            if probe.comparison is not None and probe.metric.key not in part.in_score
        ]


def one_probe(summary: ProbeSummary) -> OneProbe | None:
    """The rows of one probe, its headline first; None without a measurement."""
    models = list(dict.fromkeys(part.model for part in summary.parts))
    quantities = list(dict.fromkeys(part.quantity for part in summary.parts))
    quantities.sort(key=lambda quantity: quantity != summary.headline)
    rows = []
    for quantity in quantities:
        for model in models:
            mean, change = summary.part(quantity, model), summary.part(quantity, model, models[0])
            if mean is not None:
                rows.append(
                    ProbeRow(
                        quantity=summary.words.get(quantity, quantity),
                        model=model,
                        mean=_interval(mean),
                        difference=change and _interval(change),
                        adjusted=change and change.p_adjusted,
                    )
                )
    first = summary.part(summary.headline, models[0]) if models else None
    if first is None:
        return None
    metric = Metric(
        key=summary.probe,
        name=f"the probe '{summary.title.lower()}'",
        percent=summary.unit != NATS,
        decimals=_decimals(summary.unit),
    )
    return OneProbe(
        title=summary.title,
        about=summary.about,
        unit=summary.unit,
        questions=first.questions,
        metric=metric,
        rows=tuple(rows),
        comparison=_comparison(summary, models),
    )


def _comparison(summary: ProbeSummary, models: Sequence[str]) -> Comparison | None:
    first, last = models[0], models[-1]
    before, after, change = (summary.part(summary.headline, *which) for which in ((first,), (last,), (last, first)))
    if before is None or after is None or change is None:
        return None
    return Comparison(
        metric=summary.probe,
        arm=last,
        baseline=first,
        before=before.mean,
        after=after.mean,
        difference=_interval(change),
        adjusted=change.p_adjusted,
        n=change.questions,
    )


def changed(part: Probes, unit: str, width: float, *, narrow: bool = False) -> str:
    """The last model minus the first, probe by probe of one unit."""
    rows = []
    for probe in part.changes:
        if probe.unit == unit and probe.comparison is not None:
            value, low, high = _printed(probe, probe.comparison.difference)
            rows.append(figures.ForestRow(probe.title, value, low, high))
    first = next(probe.comparison for probe in part.changes if probe.comparison is not None)
    title = f"What changed by probe, {first.arm} minus {first.baseline}"
    axis = f"{first.arm} minus {first.baseline}, {_axis(unit)}"
    return figures.forest(rows, title=title, axis=axis, width=width, narrow=narrow, decimals=_decimals(unit))


def headlines(part: Probes, unit: str, width: float, *, narrow: bool = False) -> str:
    """The headline quantity of every model and probe of one unit, with intervals."""
    rows = []
    for probe in part.probes:
        head = probe.rows[0].quantity
        for row in probe.rows:
            if probe.unit == unit and row.quantity == head:
                value, low, high = _printed(probe, row.mean)
                told = [number(bound, _decimals(unit)) for bound in (value, low, high)]
                text = f"{told[0]} ({told[1]} to {told[2]})"
                rows.append(figures.ForestRow(row.model, value, low, high, group=probe.title, text=text))
    title = "What probes measured, every model"
    return figures.forest(rows, title=title, axis=_axis(unit), width=width, narrow=narrow, decimals=_decimals(unit))


def _both(draw: Callable[..., str], part: Probes, unit: str) -> tuple[Markup, Markup]:
    return svg(draw(part, unit, WIDE)), svg(draw(part, unit, NARROW, narrow=True))


def _units(probes: Sequence[OneProbe]) -> list[str]:
    return list(dict.fromkeys(probe.unit for probe in probes))


def _printed(probe: OneProbe, found: Interval) -> tuple[float | None, float | None, float | None]:
    """Shares in points of 100, as in the table."""
    factor = 100 if probe.metric.percent else 1
    value, low, high = (None if x is None else factor * x for x in (found.value, found.low, found.high))
    return value, low, high


def _unit(probe: OneProbe) -> str:
    return "%" if probe.metric.percent else probe.unit


def _axis(unit: str) -> str:
    return unit if unit == NATS else f"% {unit}"


def _decimals(unit: str) -> int:
    return 2 if unit == NATS else 1


def _interval(part: ProbePart) -> Interval:
    return Interval(value=part.mean, low=part.low, high=part.high)
