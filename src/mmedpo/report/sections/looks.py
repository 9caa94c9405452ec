"""Does it look? The score of the probes that end in a share, with all that it is made of; or what of it is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.records import LooksScore, ProbeSummary
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Comparison, Interval, Metric
from mmedpo.report.formatting import number
from mmedpo.report.parts import Part
from mmedpo.report.section import NARROW, WIDE, Section, svg
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import Headline
from mmedpo.run import Run

SCORE = Metric(key="looks", name="the score of looking at the image")


class LooksRow(Part):
    """The score, or one of its parts."""

    title: str
    share: float
    """Of the score."""
    of_model: tuple[Interval, ...] = ()
    """In the order of the models."""
    change: Interval | None = None
    """The last model minus the first."""
    questions: int | None = None


class MissingPart(Part):
    """A part that has no value in this run."""

    probe: str
    reason: str


class Looks(Part):
    """The score before and after tuning, or why there is none."""

    models: tuple[str, ...]
    rows: tuple[LooksRow, ...] = ()
    """The score itself, then its parts; empty while one is missing."""
    missing: tuple[MissingPart, ...] = ()
    found: tuple[str, ...] = ()
    """Titles of the parts that have a value."""
    comparison: Comparison | None = None
    images: int = 0
    level: float = 0.95


@register("section", "looks")
class LooksSection(Section[Looks]):
    """One score of looking."""

    heading = "Does it look? One score"
    order = 190
    template = "looks.html.j2"

    def gather(self, run: Run, stored: Stored) -> Looks | None:
        """None when no part of it was measured."""
        evaluation = stored.evaluation
        if evaluation is None or evaluation.looks is None:
            return None
        return looks(evaluation.looks, evaluation.models, evaluation.probes)

    def draw(self, part: Looks) -> Mapping[str, object]:
        """The score and its parts, every model."""
        if not part.rows:
            return {}
        return {
            "score": SCORE,
            "wide": svg(looks_plot(part, WIDE)),
            "narrow": svg(looks_plot(part, NARROW, narrow=True)),
        }

    def compares(self, part: Looks) -> Sequence[Headline]:
        """The score."""
        return (
            [] if part.comparison is None else [Headline(part.comparison, SCORE, part.level, row="score of looking, %")]
        )


def looks(score: LooksScore, models: Sequence[str], probes: Sequence[ProbeSummary]) -> Looks:
    """What the section says of a stored score."""
    found = [part for part in score.parts if not part.missing]
    missing = tuple(MissingPart(probe=part.probe, reason=part.missing) for part in score.parts if part.missing)
    titles = tuple(part.title for part in found)
    if missing or not score.means:
        return Looks(models=tuple(models), missing=missing, found=titles)
    first, last = models[0], models[-1]
    means = {(mean.model, mean.against): mean for mean in score.means}
    bounds = {key: Interval(value=mean.mean, low=mean.low, high=mean.high) for key, mean in means.items()}
    own = tuple(bounds[model, ""] for model in models)
    rows = [
        LooksRow(title="score", share=1.0, of_model=own, change=bounds.get((last, first)), questions=score.questions)
    ]
    summaries = {summary.probe: summary for summary in probes}
    rows += [_row(summaries[part.probe], models, 1 / len(found)) for part in found]
    comparison = None
    if (last, first) in means:
        comparison = Comparison(
            metric=SCORE.key,
            arm=last,
            baseline=first,
            before=means[first, ""].mean,
            after=means[last, ""].mean,
            difference=bounds[last, first],
            adjusted=means[last, first].p_value,
            n=score.questions,
        )
    return Looks(models=tuple(models), rows=tuple(rows), found=titles, comparison=comparison, images=score.images)


def _row(summary: ProbeSummary, models: Sequence[str], share: float) -> LooksRow:
    told = [summary.part(summary.headline, model) for model in models]
    change = summary.part(summary.headline, models[-1], models[0])
    intervals = [Interval() if p is None else Interval(value=p.mean, low=p.low, high=p.high) for p in (*told, change)]
    return LooksRow(
        title=summary.title,
        share=share,
        of_model=tuple(intervals[:-1]),
        change=None if change is None else intervals[-1],
        questions=told[0].questions if told[0] else None,
    )


def looks_plot(part: Looks, width: float, *, narrow: bool = False) -> str:
    """The score first, then its parts; points of 100."""
    rows = []
    for row in part.rows:
        for place, (model, found) in enumerate(zip(part.models, row.of_model, strict=True)):
            value, low, high = (None if x is None else 100 * x for x in (found.value, found.low, found.high))
            text = f"{number(value, 0)} ({number(low, 0)} to {number(high, 0)})" if low is not None else ""
            group = "Score" if row.title == "score" else row.title
            rows.append(figures.ForestRow(model, value, low, high, group=group, series=place, text=text))
    title = "Score of looking and its parts, every model"
    return figures.forest(rows, title=title, axis="0: never looks", width=width, narrow=narrow, decimals=0)
