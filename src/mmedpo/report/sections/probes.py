"""Probes: what every one without a picture of its own found, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        told = [one_probe(summary) for summary in found if summary.probe not in drawn]
        probes = tuple(probe for probe in told if probe is not None)
        return Probes(probes=probes) if probes else None

    def draw(self, part: Probes) -> Mapping[str, object]:
        """The headlines of all models, one plot for each unit."""
        units = list(dict.fromkeys(probe.unit for probe in part.probes))
        plots = [(svg(headlines(part, unit, WIDE)), svg(headlines(part, unit, NARROW, narrow=True))) for unit in units]
        return {"plots": plots}

    def compares(self, part: Probes) -> Sequence[Headline]:
        """The headline of each."""
        return [
            Headline(probe.comparison, probe.metric, part.level, row=f"{probe.title.lower()}, {probe.unit}")
            for probe in part.probes
            if probe.comparison is not None
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
                        quantity=quantity,
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
        key=summary.probe, name=f"{summary.title.lower()} ({summary.about})", percent=summary.unit != "nats", decimals=2
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


def headlines(part: Probes, unit: str, width: float, *, narrow: bool = False) -> str:
    """The headline quantity of every model and probe of one unit, with intervals."""
    rows = []
    for probe in part.probes:
        head = probe.rows[0].quantity
        for row in probe.rows:
            if probe.unit == unit and row.quantity == head:
                found = row.mean
                bounds = f"{number(found.value, 2)} ({number(found.low, 2)} to {number(found.high, 2)})"
                rows.append(
                    figures.ForestRow(row.model, found.value, found.low, found.high, group=probe.title, text=bounds)
                )
    title = "What probes measured, every model"
    return figures.forest(rows, title=title, axis=unit, width=width, narrow=narrow, decimals=2)


def _interval(part: ProbePart) -> Interval:
    return Interval(value=part.mean, low=part.low, high=part.high)
