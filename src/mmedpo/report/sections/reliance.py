"""Lesion reliance: the picture of the probe of that name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.records import ProbePart, ProbeSummary
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Comparison, Interval, Metric
from mmedpo.report.formatting import number
from mmedpo.report.parts import Part
from mmedpo.report.section import NARROW, WIDE, Section, svg
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import Headline
from mmedpo.run import Run

PROBE = "lesion-reliance"


RELIANCE = Metric(
    key="reliance",
    name="the extra drop of log π(y_w) from noise in the lesion rather than elsewhere",
    percent=False,
    decimals=2,
)


class RelianceRow(Part):
    """How much log pi(y_w) falls (nats, positive = falls) when the image of one model is noised."""

    model: str
    lesion: Interval
    """Noise inside the lesion."""
    elsewhere: Interval
    """The same amount of noise outside the lesion."""
    n: int | None = None


class Reliance(Part):
    """Does the model look at the lesion? Before against after tuning."""

    rows: tuple[RelianceRow, ...]
    contrast: Comparison | None = None
    """(lesion - elsewhere), the last model against the first, in nats; its `metric` is not looked up."""
    level: float = 0.95
    notes: tuple[str, ...] = ()


@register("section", "reliance")
class RelianceSection(Section[Reliance]):
    """Lesion reliance."""

    heading = "Lesion reliance"
    order = 200
    template = "reliance.html.j2"
    probe = PROBE

    def gather(self, run: Run, stored: Stored) -> Reliance | None:
        """None when it was not measured."""
        summary = stored.probe(PROBE)
        return reliance(summary) if summary else None

    def draw(self, part: Reliance) -> Mapping[str, object]:
        """Both regions of every model."""
        return {
            "wide": svg(reliance_plot(part, WIDE)),
            "narrow": svg(reliance_plot(part, NARROW, narrow=True)),
            "metric": RELIANCE,
        }

    def compares(self, part: Reliance) -> Sequence[Headline]:
        """The contrast."""
        if part.contrast is None:
            return ()
        return (Headline(part.contrast, RELIANCE, part.level, row="lesion reliance, nats"),)


def reliance(summary: ProbeSummary) -> Reliance | None:
    """Fall of log pi(y_w) with the lesion noised against elsewhere noised; None without any model."""
    models = list(dict.fromkeys(part.model for part in summary.parts))
    rows = []
    for model in models:
        lesion, elsewhere = summary.part("lesion", model), summary.part("elsewhere", model)
        if lesion is not None and elsewhere is not None:
            rows.append(
                RelianceRow(model=model, lesion=_interval(lesion), elsewhere=_interval(elsewhere), n=lesion.questions)
            )
    if not rows:
        return None
    first, last = models[0], models[-1]
    before, after, change = (summary.part("contrast", *which) for which in ((first,), (last,), (last, first)))
    contrast = change and Comparison(
        metric="reliance",
        arm=last,
        baseline=first,
        before=before and before.mean,
        after=after and after.mean,
        difference=_interval(change),
        adjusted=change.p_adjusted,
        n=change.questions,
    )
    note = (
        f"Questions about annotated lesions of {summary.split}; the noise is the same for every run, whatever it "
        "trained with."
    )
    return Reliance(rows=tuple(rows), contrast=contrast, notes=(note,))


def _interval(part: ProbePart) -> Interval:
    return Interval(value=part.mean, low=part.low, high=part.high)


def reliance_plot(reliance: Reliance, width: float, *, narrow: bool = False) -> str:
    """Drop of log pi(y_w) per model, lesion noised against elsewhere noised."""
    rows = []
    for row in reliance.rows:
        for name, item, series in (("lesion noised", row.lesion, 0), ("elsewhere noised", row.elsewhere, 1)):
            rows.append(
                figures.ForestRow(
                    name, item.value, item.low, item.high, group=row.model, series=series, hollow=series == 1,
                    text=_with_bounds(item.value, item.low, item.high),
                )
            )  # fmt: skip
    title = "Drop of log π(y_w) when the lesion or the same amount elsewhere is noised"
    return figures.forest(rows, title=title, axis="drop of log π(y_w), nats", width=width, narrow=narrow, decimals=2)


def _with_bounds(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return number(value, 2)
    return f"{number(value, 2)} ({number(low, 2)} to {number(high, 2)})"
