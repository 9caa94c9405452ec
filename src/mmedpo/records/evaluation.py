"""What is said of a model: its answers, their scores, and what base and tuned model are compared by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.records.core import AnswerType, ErrorType, Record

METRICS = ("closed_accuracy", "open_recall", "bleu", "rouge_l", "meteor")
"""Metrics that are compared, where the split has such questions."""

LABELS = {
    "closed_accuracy": "closed accuracy",
    "open_recall": "open recall",
    "bleu": "BLEU",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
}
"""The metrics in words, as every table and page names them."""


class Prediction(Record):
    """One generated answer of one model to one question."""

    example_id: str
    """The question it answers."""
    model: str
    """Which model answered: `base` or `tuned`."""
    text: str
    """The answer as decoded, stripped."""
    finished: bool = True
    """False when the length limit cut it."""


class ItemScore(Record):
    """One answer of one model, scored by one protocol."""

    example_id: str
    """The question."""
    model: str
    """Which model answered."""
    protocol: str
    """Registered name of the protocol."""
    answer_type: AnswerType
    """Closed, open or report: decides which metrics there are."""
    error_type: ErrorType
    """What the question asks for."""
    image_sha256: str
    """The image: the cluster of the bootstrap."""
    values: dict[str, float] = Field(default_factory=dict)
    """Metric -> value; empty when unscored."""
    reference: str = ""
    """Ground truth as normalised words; empty for reports."""
    polarity: Literal["", "yes", "no", "both", "neither"] = ""
    """What was said to a yes/no question; empty for any other question."""
    note: str = ""
    """Why a closed answer got no credit, under protocols that tell."""
    unscored: str = ""
    """Why there is no value; empty when there is one."""


class MetricSummary(Record):
    """Mean of one metric."""

    mean: float
    """Arithmetic mean over the items that have the metric."""
    n: int
    """Number of those items, at least 1."""


class Summary(Record):
    """What one model scored under one protocol. A metric that no item has is absent, never 0."""

    model: str
    """Which model."""
    protocol: str
    """Registered name of the protocol."""
    n_items: int
    """Items given, unscored ones included."""
    metrics: dict[str, MetricSummary]
    """Metric -> mean and n; also yes_rate, yes_rate_reference and closed_majority_baseline (see `summarise`)."""
    by_error_type: dict[ErrorType, dict[str, MetricSummary]]
    """The protocol's metrics again, per error type that occurs."""
    unscored: dict[str, int]
    """Reason -> number of items without a value."""
    notes: dict[str, int]
    """Note -> number of closed answers without credit."""


class Reliance(Record):
    """log pi(y_w) of one question of one model under the clean and the two noised views."""

    example_id: str
    """The question."""
    model: str
    """`base` or `tuned`."""
    image_sha256: str
    """Cluster of the intervals."""
    clean: float
    """log pi(y_w | clean image), nats, summed over the answer."""
    lesion: float
    """The same with the lesion noised."""
    elsewhere: float
    """The same with an equal area elsewhere noised."""


class Difference(Record):
    """Tuned minus base on one metric of one split, paired by question, clustered by image."""

    split: str
    """The split."""
    metric: str
    """The metric."""
    error_type: ErrorType | None = None
    """Set when only questions of this type are compared."""
    base: float
    """Mean of the base."""
    tuned: float
    """Mean of the tuned model."""
    difference: float
    """Tuned minus base."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    questions: int
    """Questions compared."""
    images: int
    """Images they stand on."""


class ReliancePart(Record):
    """Mean fall of log pi(y_w), nats, when one region is noised; positive means it falls."""

    model: str
    """`base` or `tuned`; `tuned-base` for the difference."""
    region: str
    """`lesion`, `elsewhere`, or `contrast` (lesion minus elsewhere)."""
    mean: float
    """Mean over the questions."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    questions: int
    """Questions measured."""


class SplitScores(Record):
    """Both models on one split."""

    split: str
    """The split."""
    summaries: dict[str, Summary]
    """`base` and `tuned`."""
    other_protocols: dict[str, dict[str, Summary]] = Field(default_factory=dict)
    """Protocol -> the same, for comparison with published numbers."""


class Evaluation(Record):
    """`evaluation.json`."""

    protocol: str
    """Protocol of the headline."""
    splits: tuple[SplitScores, ...]
    """In the order of the settings."""
    differences: tuple[Difference, ...]
    """Whole splits."""
    by_error_type: tuple[Difference, ...]
    """Per error type, on the first split."""
    reliance: tuple[ReliancePart, ...] = ()
    """On the first split; empty when it was not measured."""
    level: float = 0.95
    """Coverage of the intervals."""
    bootstrap_samples: int = 0
    """Resamples behind each interval."""


class Cell(Record):
    """One arm on one metric of one split."""

    arm: str
    """Name of the arm; `base` for the model before tuning."""
    split: str
    """The split."""
    metric: str
    """The metric."""
    mean: float
    """Mean over seeds of the mean over questions."""
    per_seed: tuple[float, ...]
    """Mean over questions, per seed."""
    difference: float | None = None
    """Arm minus base; None for the base."""
    low: float | None = None
    """Lower end of the 95 % interval of the difference."""
    high: float | None = None
    """Upper end."""
    questions: int
    """Questions per seed."""
    images: int
    """Images they stand on."""


class Contrast(Record):
    """One arm against another on one metric of one split."""

    split: str
    """The split."""
    metric: str
    """The metric."""
    arm: str
    """The arm."""
    against: str
    """What it is compared with."""
    difference: float
    """Arm minus the other."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""


class RelianceCell(Record):
    """Lesion reliance of one arm: fall of log pi(y_w) with the lesion noised minus elsewhere noised, nats."""

    arm: str
    """Name of the arm; `base` for the model before tuning."""
    lesion: float
    """Mean fall with the lesion noised."""
    elsewhere: float
    """Mean fall with an equal area elsewhere noised."""
    difference: float | None = None
    """Contrast (lesion minus elsewhere) of the arm minus that of the base."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end."""
