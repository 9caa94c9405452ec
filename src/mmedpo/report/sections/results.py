"""Results: every model on every metric, their differences with intervals, and what is worth knowing beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Self

from pydantic import model_validator

from mmedpo.records import Difference, Evaluation, SplitScores, Summary
from mmedpo.records.evaluation import FINDING_LABELS, LABELS, METRICS
from mmedpo.registry import register
from mmedpo.report import figures
from mmedpo.report.content import Comparison, Interval, Metric
from mmedpo.report.formatting import count, in_unit, interval, level, measured, number, share
from mmedpo.report.parts import Part
from mmedpo.report.section import NARROW, WIDE, Section, svg
from mmedpo.report.stored import Stored
from mmedpo.report.verdict import NO_COMPARISON, Headline, headlines_of, heads_of, multiplicity_note, tone
from mmedpo.run import Run


class Arm(Part):
    """One row of the results: a model, with its value for each metric key."""

    name: str
    values: Mapping[str, Interval]
    note: str = ""


class ProtocolRow(Part):
    """The same answers to one split under another protocol."""

    split: str
    protocol: str
    values: Mapping[str, str]
    """Metric in words -> every model's mean in order, as printed."""


class Results(Part):
    """Metrics, arms and their differences."""

    metrics: tuple[Metric, ...]
    arms: tuple[Arm, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    by_error_type: tuple[Comparison, ...] = ()
    by_tag: tuple[Comparison, ...] = ()
    """By organ and modality."""
    level: float = 0.95
    """Coverage of all intervals."""
    interval_method: str = ""
    """E.g. `paired bootstrap over images, 10,000 resamples`."""
    notes: tuple[str, ...] = ()
    protocols: tuple[ProtocolRow, ...] = ()
    """For comparison with published numbers."""

    @model_validator(mode="after")
    def _known_keys(self) -> Self:
        known = [metric.key for metric in self.metrics]
        if len(set(known)) != len(known):
            raise ValueError(f"metric keys {known} are not unique; give each metric its own key")
        used = {key for arm in self.arms for key in arm.values}
        used |= {comparison.metric for comparison in (*self.comparisons, *self.by_error_type, *self.by_tag)}
        if unknown := sorted(used - set(known)):
            raise ValueError(f"metric keys {unknown} are not among {known}; add them to `metrics`")
        return self

    def metric(self, key: str) -> Metric:
        """The metric with this key."""
        return next(metric for metric in self.metrics if metric.key == key)


@register("section", "results")
class ResultsSection(Section[Results]):
    """Results."""

    heading = "Results"
    order = 100
    template = "results.html.j2"

    def gather(self, run: Run, stored: Stored) -> Results | None:
        """None before the evaluation."""
        found = results(stored.evaluation) if stored.evaluation else None
        return found if found is not None and found.metrics else None

    def draw(self, part: Results) -> Mapping[str, object]:
        """Forest plots of the differences, a small bar per error type."""
        parts = [("error type", part.by_error_type), ("organ and modality", part.by_tag)]
        tables = [(what, items, error_type_bars(items, part)) for what, items in parts if items]
        return {
            "metric_groups": metric_groups(part),
            "difference_plots": [(svg(wide), svg(narrow)) for _, wide, narrow in difference_plots(part)],
            "parts_of_split": [
                (what, items, [(item, svg(bar)) for item, bar in zip(items, bars, strict=True)])
                for what, items, bars in tables
            ],
            "labels": [label for label in LABELS.values() if any(label in row.values for row in part.protocols)],
            "multiplicity": multiplicity_note(part.comparisons, part.level),
            "tone": tone,
            "joint": joint_of(part.arms),
            **dict(zip(("before", "after"), heads_of(part.comparisons), strict=True)),
        }

    def compares(self, part: Results) -> Sequence[Headline]:
        """Those of the headline split."""
        return [Headline(item, part.metric(item.metric), part.level) for item in headlines_of(part.comparisons)]

    def says(self, part: Results) -> Sequence[str]:
        """That nothing was compared, where that is so."""
        return () if part.comparisons else (NO_COMPARISON,)


def results(evaluation: Evaluation) -> Results:
    """All models per split and metric, with paired differences; the first split is the headline."""
    metrics = []
    values: dict[str, dict[str, Interval]] = {model: {} for model in evaluation.models}
    for scores in evaluation.splits:
        for name in METRICS:
            means = {model: summary.metrics.get(name) for model, summary in scores.summaries.items()}
            known = [mean for mean in means.values() if mean is not None]
            if not known:
                continue
            key = _key(scores.split, name)
            metrics.append(
                Metric(
                    key=key, name=LABELS[name], split=scores.split, protocol=evaluation.protocol,
                    n=max(mean.n for mean in known),
                )
            )  # fmt: skip
            for model, mean in means.items():
                if mean is not None:
                    values[model][key] = Interval(value=mean.mean)
    first = evaluation.splits[0].split if evaluation.splits else ""
    return Results(
        metrics=tuple(metrics),
        arms=tuple(Arm(name=model, values=cells) for model, cells in values.items() if cells),
        comparisons=tuple(_comparison(item, headline=item.split == first) for item in evaluation.differences),
        by_error_type=tuple(_comparison(item, headline=False) for item in evaluation.by_error_type),
        by_tag=tuple(_comparison(item, headline=False) for item in evaluation.by_tag),
        level=evaluation.level,
        interval_method=f"paired bootstrap over images, {count(evaluation.bootstrap_samples)} resamples",
        notes=(
            "The intervals cover the chance in which test images were drawn. A run has one training seed; what another "
            "seed would change is not in them.",
            *_power(evaluation, first),
            *_equal_length(evaluation, first),
            *(note for scores in evaluation.splits for note in _answer_rates(scores)),
            *(note for scores in evaluation.splits for note in _corpus_bleu(scores)),
            *(note for scores in evaluation.splits for note in _findings(scores)),
            *_not_asked(evaluation),
        ),
        protocols=tuple(row for scores in evaluation.splits for row in _other_protocols(scores)),
    )


def _power(evaluation: Evaluation, split: str) -> list[str]:
    """How large a true difference must be to be shown eight times of ten: (z_0.975 + z_0.8) standard errors.

    The standard error is that of the interval found, so the line speaks of this test set and these two models.
    """
    visible = {
        LABELS[item.metric]: 2.8 / 3.92 * (item.high - item.low)
        for item in evaluation.differences
        if item.split == split and item.model == evaluation.models[-1] and item.high > item.low
    }
    if not visible:
        return []
    told = ", ".join(f"{name} {number(100 * value)}" for name, value in visible.items())
    return [
        f"{split}: a true difference of about this size would be shown eight times of ten, percentage points: {told}."
    ]


def _equal_length(evaluation: Evaluation, split: str) -> list[str]:
    """What is left of the differences where both answers have as many words."""
    notes = []
    for model in evaluation.models[1:]:
        told = [
            f"{LABELS[item.metric]} {_points(item.difference)} ({_points(item.low)} to {_points(item.high)})"
            for item in evaluation.equal_length
            if (item.split, item.model) == (split, model)
        ]
        if told:
            which = f"{model} minus {evaluation.models[0]}"
            notes.append(
                f"{split}, {which} where both answers have as many words, percentage points: {', '.join(told)}."
            )
    return notes


def _points(value: float) -> str:
    return number(100 * value, sign=True)


def _key(split: str, metric: str) -> str:
    return f"{split}/{metric}"


def _comparison(item: Difference, headline: bool) -> Comparison:
    return Comparison(
        metric=_key(item.split, item.metric),
        arm=item.model,
        baseline=item.against,
        before=item.before,
        after=item.after,
        difference=Interval(value=item.difference, low=item.low, high=item.high),
        adjusted=item.p_adjusted,
        effect=item.effect,
        n=item.questions,
        headline=headline,
        error_type=item.error_type or item.tag.replace(":", ": "),
    )


def _answer_rates(scores: SplitScores) -> list[str]:
    """What guessing would reach, and how often each model says yes: the reading aids of an accuracy."""
    some = next(iter(scores.summaries.values()), None)
    if some is None:
        return []
    notes = []
    majority = some.metrics.get("closed_majority_baseline")
    if majority is not None:
        notes.append(
            f"{scores.split}: always giving the most frequent closed answer would score {share(majority.mean, 1)}."
        )
    truth = some.metrics.get("yes_rate_reference")
    rates = [
        f"{model} {share(summary.metrics['yes_rate'].mean, 1)}"
        for model, summary in scores.summaries.items()
        if "yes_rate" in summary.metrics
    ]
    if truth is not None and rates:
        notes.append(
            f"{scores.split}: yes/no questions answered with yes: {', '.join(rates)}; the truth is yes in "
            f"{share(truth.mean, 1)} (n = {count(truth.n)})."
        )
    return notes


def joint_of(models: Collection[object]) -> str:
    """What stands between the values of several models: an arrow between two, for only then one follows the other."""
    return " → " if len(models) == 2 else " · "


def _corpus_bleu(scores: SplitScores) -> list[str]:
    if not scores.corpus_bleu:
        return []
    joint = joint_of(scores.corpus_bleu)
    order = joint.join(scores.corpus_bleu)
    values = joint.join(number(100 * value) for value in scores.corpus_bleu.values())
    return [f"{scores.split}, corpus BLEU-4 of reports as sacrebleu computes it, {order}: {values}."]


def _not_asked(evaluation: Evaluation) -> list[str]:
    """Which metrics of reports nobody asked for; said where there are reports."""
    if evaluation.external or not any(scores.corpus_bleu for scores in evaluation.splits):
        return []
    return [
        "RadGraph-F1, CheXbert-F1, RaTEScore, GREEN and CRIMSON of reports: not computed; evaluate.radeval.metrics "
        "names none, and `mmedpo metrics install radeval` prepares them."
    ]


def _findings(scores: SplitScores) -> list[str]:
    """What reports say of findings, read by rules: the hallucinated and the missed ones."""
    joint = joint_of(scores.summaries)
    shown = [
        f"{label} {joint.join(_hundred(summary, name) for summary in scores.summaries.values())}"
        for name, label in FINDING_LABELS.items()
        if all(name in summary.metrics for summary in scores.summaries.values())
    ]
    order = joint.join(scores.summaries)
    return [f"{scores.split}, findings in reports, read by rules, {order}, %: {', '.join(shown)}."] if shown else []


def _other_protocols(scores: SplitScores) -> list[ProtocolRow]:
    rows = []
    for protocol, summaries in scores.other_protocols.items():
        shown = {
            LABELS[name]: joint_of(summaries).join(_hundred(summary, name) for summary in summaries.values())
            for name in METRICS
            if all(name in summary.metrics for summary in summaries.values())
        }
        if summaries and shown:
            rows.append(ProtocolRow(split=scores.split, protocol=protocol, values=shown))
    return rows


def _hundred(summary: Summary, metric: str) -> str:
    return number(100 * summary.metrics[metric].mean)


def metric_groups(results: Results) -> list[tuple[str, str, list[Metric]]]:
    """Neighbouring metrics of the same split and protocol, for the table's upper header."""
    return [
        (split, protocol, list(group))
        for (split, protocol), group in groupby(results.metrics, key=lambda metric: (metric.split, metric.protocol))
    ]


def comparison_row(item: Comparison, results: Results, *, label: str, group: str = "") -> figures.ForestRow:
    """One comparison as a forest row in printed units."""
    metric = results.metric(item.metric)
    value, low, high = (in_unit(x, metric) for x in (item.difference.value, item.difference.low, item.difference.high))
    text = measured(item.difference.value, metric, sign=True)
    bounds = interval(item.difference, metric, sign=True)
    if item.difference.value is not None:
        text += f" ({bounds})" if bounds else " (no interval)"
    return figures.ForestRow(label, value, low, high, text=text, group=group)


def difference_plots(results: Results) -> list[tuple[str, str, str]]:
    """(unit, wide, narrow) forest plots, one for percentages and one for everything else, as far as they occur."""
    plots = []
    for percent, unit in ((True, "percentage points"), (False, "the metric's own unit")):
        chosen = [item for item in results.comparisons if results.metric(item.metric).percent is percent]
        if not chosen:
            continue
        pairs = list(dict.fromkeys((item.arm, item.baseline) for item in chosen))
        baselines = list(dict.fromkeys(baseline for _, baseline in pairs))
        rows = [
            comparison_row(
                item,
                results,
                label=_metric_label(item, results),
                group="" if len(pairs) == 1 else item.arm if len(baselines) == 1 else f"{item.arm} − {item.baseline}",
            )
            for pair in pairs
            for item in chosen
            if (item.arm, item.baseline) == pair
        ]
        arm = pairs[0][0] if len(pairs) == 1 else "each"
        what = f"{arm} minus {baselines[0]}" if len(baselines) == 1 else "difference of the two"
        title = f"Differences with {level(results.level)} intervals"
        axis = f"{unit}, {what}"
        wide = figures.forest(rows, title=title, axis=axis, width=WIDE)
        narrow = figures.forest(rows, title=title, axis=axis, width=NARROW, narrow=True)
        plots.append((unit, wide, narrow))
    return plots


def _metric_label(item: Comparison, results: Results) -> str:
    metric = results.metric(item.metric)
    return f"{metric.name}, {metric.split}" if metric.split else metric.name


def error_type_bars(items: Sequence[Comparison], results: Results) -> list[str]:
    """A small interval bar per comparison, all on one domain per unit."""
    rows = [comparison_row(item, results, label=item.error_type or item.metric) for item in items]
    bars = []
    for item, row in zip(items, rows, strict=True):
        percent = results.metric(item.metric).percent
        peers = [r for i, r in zip(items, rows, strict=True) if results.metric(i.metric).percent is percent]
        known = [x for r in peers for x in (r.value, r.low, r.high) if x is not None]
        lo, hi = min([0.0, *known]), max([0.0, *known])
        bars.append(figures.interval_bar(row, lo, hi) if hi > lo else "")
    return bars
