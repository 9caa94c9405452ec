"""What a report says, as plain frozen data: the caller fills it from a run folder, `render` turns it into HTML.

Nothing here reads a file or computes a statistic. A number that was not measured is `None` (a value that is not
finite becomes `None` too) and is printed as "not measured", never as 0. Every section may be left empty; an empty
section does not appear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import model_validator

from mmedpo.records import Drop, PreferencePair
from mmedpo.report.parts import Measured, Part, Picture
from mmedpo.report.speakers import CallCost, Debate, JudgeRow, Panel


class Fact(Part):
    """A label and its text, e.g. `torch` and `2.13.0`."""

    label: str
    value: str


class StageTime(Part):
    """Wall time of one stage."""

    stage: str
    seconds: Measured
    note: str = ""
    """E.g. `reused from an earlier run`."""


class Head(Part):
    """What was run, when, and with what."""

    run_name: str
    recipe: str = ""
    date: str = ""
    """As it should be printed, e.g. `2026-03-14 09:12 UTC`."""
    dataset: str = ""
    facts: tuple[Fact, ...] = ()
    """Model, adapter, device, seeds: whatever identifies the run."""
    versions: tuple[Fact, ...] = ()
    stages: tuple[StageTime, ...] = ()


class StageWarning(Part):
    """Something the reader must know before believing the numbers."""

    stage: str
    message: str


class DropCount(Part):
    """How often one stage dropped something for one reason."""

    stage: str
    reason: str
    count: int
    examples: tuple[str, ...] = ()
    """A few items, each with its detail."""


def count_drops(drops: Iterable[Drop], examples: int = 3) -> tuple[DropCount, ...]:
    """Count `drops` by stage and reason, in order of first appearance, keeping the first `examples` items of each."""
    grouped: dict[tuple[str, str], list[Drop]] = {}
    for drop in drops:
        grouped.setdefault((drop.stage, drop.reason), []).append(drop)
    return tuple(
        DropCount(
            stage=stage,
            reason=reason,
            count=len(members),
            examples=tuple(f"{drop.item}: {drop.detail}" if drop.detail else drop.item for drop in members[:examples]),
        )
        for (stage, reason), members in grouped.items()
    )


class Interval(Part):
    """A value with the bounds of its interval; any of them may be missing."""

    value: Measured = None
    low: Measured = None
    high: Measured = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"interval bounds {self.low} > {self.high}; give low before high")
        return self


class Metric(Part):
    """One column of the results: what was measured, on which split, under which protocol."""

    key: str
    """Unique in the report; arms and comparisons refer to it."""
    name: str
    """As it is read in a sentence, e.g. `closed accuracy`."""
    split: str = ""
    protocol: str = ""
    n: int | None = None
    """Questions behind it."""
    percent: bool = True
    """True: stored as a fraction and printed times 100. False: printed as stored (e.g. log-probabilities)."""
    higher_is_better: bool | None = True
    """None when neither direction is good in itself."""
    decimals: int = 1


class Arm(Part):
    """One row of the results: a model, with its value for each metric key."""

    name: str
    values: Mapping[str, Interval]
    note: str = ""


class Comparison(Part):
    """One arm against a baseline on one metric, in the metric's stored unit."""

    metric: str
    """Key of the metric."""
    arm: str = "tuned"
    baseline: str = "base"
    before: Measured = None
    """The baseline's value."""
    after: Measured = None
    """The arm's value."""
    difference: Interval = Interval()
    """`after - before` with its (paired) interval."""
    n: int | None = None
    headline: bool = False
    """True: named in the verdict. When no comparison is, the first four are."""
    error_type: str = ""
    """Set for the by-error-type table; empty for the whole split."""


class Results(Part):
    """Metrics, arms and their differences."""

    metrics: tuple[Metric, ...]
    arms: tuple[Arm, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    by_error_type: tuple[Comparison, ...] = ()
    level: float = 0.95
    """Coverage of all intervals."""
    interval_method: str = ""
    """E.g. `paired bootstrap over images, 10,000 resamples`."""
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known_keys(self) -> Self:
        known = [metric.key for metric in self.metrics]
        if len(set(known)) != len(known):
            raise ValueError(f"metric keys {known} are not unique; give each metric its own key")
        used = {key for arm in self.arms for key in arm.values}
        used |= {comparison.metric for comparison in (*self.comparisons, *self.by_error_type)}
        if unknown := sorted(used - set(known)):
            raise ValueError(f"metric keys {unknown} are not among {known}; add them to `metrics`")
        return self

    def metric(self, key: str) -> Metric:
        """The metric with this key."""
        return next(metric for metric in self.metrics if metric.key == key)


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
    """(lesion - elsewhere), tuned against base, in nats; its `metric` is not looked up."""
    level: float = 0.95
    notes: tuple[str, ...] = ()


class CurveSeries(Part):
    """One line: (step, value) points; a value that is None or not finite leaves a gap."""

    name: str
    points: tuple[tuple[float, Measured], ...]


class CurvePanel(Part):
    """One small chart of the training."""

    title: str
    y_label: str = ""
    series: tuple[CurveSeries, ...]


class CurveMarker(Part):
    """A step worth a vertical line in every panel."""

    step: float
    label: str
    kind: Literal["best", "collapse", "note"] = "note"


class Training(Part):
    """The training log."""

    panels: tuple[CurvePanel, ...]
    markers: tuple[CurveMarker, ...] = ()
    x_label: str = "step"
    facts: tuple[Fact, ...] = ()
    notes: tuple[str, ...] = ()


class LengthRow(Part):
    """Lengths of chosen against rejected answers of one group of pairs."""

    group: str
    n: int
    chosen_words: Measured
    """Mean words of the chosen answers."""
    rejected_words: Measured
    """Mean words of the rejected answers."""
    rejected_longer: Measured
    """Share of pairs, in [0, 1], whose rejected answer has more words."""


class ConflictRow(Part):
    """Judge's measure of contradiction for one error type."""

    error_type: str
    n: int
    picked: int | None = None
    injected: int | None = None
    conflict: Interval = Interval()
    """Mean in [0, 1] with its interval, where one was computed."""


class CurationCount(Part):
    """A count, e.g. of text pairs or of answers sampled."""

    label: str
    count: int | None
    note: str = ""


class Curation(Part):
    """How the preference pairs came to be."""

    counts: tuple[CurationCount, ...] = ()
    judges: tuple[JudgeRow, ...] = ()
    lengths: tuple[LengthRow, ...] = ()
    conflicts: tuple[ConflictRow, ...] = ()
    notes: tuple[str, ...] = ()


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


class Scores(Part):
    """Clinical relevance scores and weights."""

    sources: tuple[ScoreSource, ...] = ()
    panel: Panel | None = None
    debates: tuple[Debate, ...] = ()
    mode: str = ""
    """Weighting mode, e.g. `rescale to mean 1, variance 0.1, clipped to [0.75, 1.25]`."""


class GroundingSample(Part):
    """One row of the contact sheet; a missing picture is said to be missing."""

    name: str
    """Example id or image name."""
    clean: Picture | None = None
    overlay: Picture | None = None
    noised: Picture | None = None
    tool: str = ""
    label: str = ""
    """Finding asked for."""
    confidence: Measured = None
    calibrated: bool | None = None
    step: int | None = None
    """Noise step k."""
    region: str = ""
    """`lesion` or `global`."""
    kind: str = ""
    """Kind of noise."""
    reason: str = ""
    """Why something is missing."""


class PairSample(Part):
    """One preference pair with its pictures."""

    pair: PreferencePair
    image: Picture | None = None
    rejected_image: Picture | None = None
    """The noised view of a visual pair."""
    wrong: str = ""
    """What the rejected side gets wrong, in words."""


class ModelAnswer(Part):
    """One model's answer to a test question."""

    model: str
    text: str
    right: bool | None = None
    """None where the answer has no right or wrong (open, report)."""
    score: Measured = None
    """Recall or another score in [0, 1], where there is one."""


class PredictionSample(Part):
    """One test question with its ground truth and the models' answers."""

    example_id: str
    question: str
    answer: str
    answers: tuple[ModelAnswer, ...]
    image: Picture | None = None
    split: str = ""
    error_type: str = ""


class Reproduce(Part):
    """All that is needed to run it again."""

    commands: tuple[str, ...] = ()
    config: str = ""
    """The resolved configuration, as YAML text."""
    hashes: tuple[Fact, ...] = ()


class ReportContent(Part):
    """The whole report; all but the title may be empty."""

    title: str
    head: Head | None = None
    caveats: tuple[str, ...] = ()
    """What this run cannot show, e.g. because the model is tiny."""
    warnings: tuple[StageWarning, ...] = ()
    drops: tuple[DropCount, ...] = ()
    results: Results | None = None
    reliance: Reliance | None = None
    training: Training | None = None
    curation: Curation | None = None
    scores: Scores | None = None
    calls: tuple[CallCost, ...] = ()
    calls_note: str = ""
    """What the numbers of calls do and do not hold."""
    groundings: tuple[GroundingSample, ...] = ()
    groundings_note: str = ""
    """How the samples were drawn, e.g. `6 of 480, drawn with seed 0`."""
    pairs: tuple[PairSample, ...] = ()
    pairs_note: str = ""
    """How the samples were drawn."""
    predictions: tuple[PredictionSample, ...] = ()
    predictions_note: str = ""
    """How the samples were drawn."""
    reproduce: Reproduce | None = None
