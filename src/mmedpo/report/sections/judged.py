"""What language models said of the answers: factuality and clinical relevance, before against after tuning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from mmedpo.records import Difference, JudgedAnswers, JudgedModels
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Comparison, Interval, Metric
from mmedpo.report.formatting import in_unit, interval, measured
from mmedpo.report.panel import most_frequent
from mmedpo.report.parts import Part
from mmedpo.report.section import NARROW, WIDE, Section, svg
from mmedpo.report.speakers import ReasonCount
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import tone
from mmedpo.run import Run

SHOWN = 3
"""Answers that lost most, shown with the judge's words, per judge."""
NOT_COMPUTED = "not computed"


class LostMarks(Part):
    """One answer that was marked lower than the first model's."""

    question: str
    truth: str
    before: str
    after: str
    loss: str
    """Mean over the criteria, in words."""
    reason: str
    """The judge's; A is the first model's answer there."""


class OneJudge(Part):
    """One judge on two models."""

    judge: str
    served: tuple[str, ...] = ()
    arm: str
    baseline: str
    questions: int
    turned: int | None
    """None where the two answers were not shown side by side."""
    unscored: tuple[ReasonCount, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    lost: tuple[LostMarks, ...] = ()

    @property
    def marked(self) -> int:
        """Questions with marks."""
        return self.questions - sum(item.count for item in self.unscored)


class Judged(Part):
    """All judges of a run."""

    split: str
    judges: tuple[OneJudge, ...]
    level: float = 0.95
    notes: tuple[str, ...] = ()


@register("section", "judged")
class JudgedSection(Section[Judged]):
    """Answers judged by language models."""

    heading = "Answers judged by language models"
    order = 150
    template = "judged.html.j2"

    def gather(self, run: Run, stored: Stored) -> Judged | None:
        """None where no language model was asked."""
        found = stored.evaluation.judged if stored.evaluation else ()
        if not found:
            return None
        judges = [one_judge(item).model_copy(update={"lost": tuple(_lost(item, stored))}) for item in found]
        return Judged(split=found[0].split, judges=tuple(judges))

    def draw(self, part: Judged) -> Mapping[str, object]:
        """A forest plot of all criteria and judges."""
        plots = (svg(forest(part, WIDE)), svg(forest(part, NARROW, narrow=True)))
        compared = any(judge.comparisons for judge in part.judges)
        return {"plots": plots if compared else (), "metric": metric_of, "tone": tone, "not_computed": NOT_COMPUTED}


def metric_of(criterion: str) -> Metric:
    """A criterion, printed as marks of 100."""
    return Metric(key=criterion, name=criterion)


def forest(part: Judged, width: float, *, narrow: bool = False) -> str:
    """Every criterion of every judge, the later model minus the first."""
    rows = []
    for judge in part.judges:
        for item in judge.comparisons:
            metric = metric_of(item.metric)
            value, low, high = (
                in_unit(x, metric) for x in (item.difference.value, item.difference.low, item.difference.high)
            )
            bounds = interval(item.difference, metric, sign=True)
            text = f"{measured(item.difference.value, metric, sign=True)} ({bounds})"
            rows.append(figures.ForestRow(metric.name, value, low, high, text=text, group=_name(judge, part)))
    title = "What language models said of the answers, differences with intervals"
    arms, baselines = ({judge.arm for judge in part.judges}, {judge.baseline for judge in part.judges})
    arm = f"{part.judges[0].arm} " if len(arms) == 1 else ""
    axis = f"marks of 100, {arm}minus {part.judges[0].baseline}" if len(baselines) == 1 else "marks of 100, difference"
    return figures.forest(rows, title=title, axis=axis, width=width, narrow=narrow)


def _name(judge: OneJudge, part: Judged) -> str:
    if len({item.baseline for item in part.judges}) > 1:
        return f"{judge.arm} minus {judge.baseline} by {judge.judge}"
    several = len({item.arm for item in part.judges}) > 1
    return f"{judge.arm} by {judge.judge}" if several else judge.judge


def one_judge(item: JudgedModels) -> OneJudge:
    """What one judge said of two models, for the page."""
    return OneJudge(
        judge=item.judge,
        served=item.served,
        arm=item.model,
        baseline=item.against,
        questions=item.questions,
        turned=item.turned,
        unscored=most_frequent(Counter(item.unscored)),
        comparisons=tuple(_comparison(difference) for difference in item.differences),
    )


def _comparison(item: Difference) -> Comparison:
    return Comparison(
        metric=item.metric,
        arm=item.model,
        baseline=item.against,
        before=item.before,
        after=item.after,
        difference=Interval(value=item.difference, low=item.low, high=item.high),
        adjusted=item.p_adjusted,
        effect=item.effect,
        n=item.questions,
    )


def _lost(item: JudgedModels, stored: Stored) -> list[LostMarks]:
    """Those that lost most, with what was said of them; of equal ones the first by id."""
    rows = [row for row in stored.judged if (row.judge, row.model) == (item.judge, item.model)]
    losses = {row.example_id: _loss(row) for row in rows if not row.unscored}
    worst = sorted(
        (row for row in rows if losses.get(row.example_id, 0) > 0),
        key=lambda row: (-losses[row.example_id], row.example_id),
    )
    return [
        LostMarks(
            question=example.question,
            truth=example.answer,
            before=stored.predictions[row.against][row.example_id].text,
            after=stored.predictions[row.model][row.example_id].text,
            loss=measured(losses[row.example_id], metric_of("")),
            reason=row.reason,
        )
        for row in worst[:SHOWN]
        if (example := stored.examples[row.example_id])
    ]


def _loss(row: JudgedAnswers) -> float:
    return (sum(row.before.values()) - sum(row.after.values())) / len(row.after)
