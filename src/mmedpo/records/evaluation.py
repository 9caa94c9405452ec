"""What is said of models: their answers, the scores of these, and what models are compared by."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mmedpo.records.core import AnswerType, ErrorType, Record
from mmedpo.records.probing import LooksScore, ProbeSummary

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


FINDING_LABELS = {
    "finding_f1": "findings, F1",
    "absence_f1": "denied findings, F1",
    "hallucinated_findings": "hallucinated findings",
    "missed_findings": "missed findings",
    "side_agreement": "sides agree",
}
"""What a protocol may say of the findings in reports (`mmedpo.evaluate.findings`), in words."""


class Prediction(Record):
    """One generated answer of one model to one question."""

    example_id: str
    """The question it answers."""
    model: str
    """Which model answered, by its slot in the run: `base`, `tuned` ..."""
    text: str
    """The answer as decoded, stripped."""
    finished: bool = True
    """False when the length limit cut it."""


class ItemScore(Record):
    """One answer of one model, scored by one protocol: a row of `scores.parquet`."""

    example_id: str
    """The question."""
    split: str
    """The split it belongs to."""
    model: str
    """Which model answered."""
    protocol: str
    """Registered name of the protocol."""
    answer_type: AnswerType
    """Closed, open or report: decides which metrics there are."""
    error_type: ErrorType
    """What the question asks for."""
    image_sha256: str
    """The image, or one of those of questions that share any: the cluster of the bootstrap."""
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


class Difference(Record):
    """One model minus another on one metric of one split, paired by question, clustered by image."""

    split: str
    """The split."""
    metric: str
    """The metric."""
    error_type: ErrorType | None = None
    """Set when only questions of this type are compared."""
    tag: str = ""
    """Set when only questions with this tag are compared, e.g. `organ:chest`."""
    model: str
    """The model."""
    against: str
    """The model it is compared with."""
    before: float
    """Mean of the latter."""
    after: float
    """Mean of the former."""
    difference: float
    """After minus before."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    p_value: float
    """Two-sided, of the bootstrap behind the interval."""
    p_adjusted: float
    """The same, adjusted by Holm's method for all comparisons of its table."""
    effect: float | None = None
    """Cohen's d_z: the difference over the standard deviation of those of single questions; None where that is 0."""
    questions: int
    """Questions compared."""
    images: int
    """Images they stand on."""


class AtEqualLength(Record):
    """One model minus another on one metric of one split, at equal length of the answers."""

    split: str
    """The split."""
    metric: str
    """The metric."""
    model: str
    """The model."""
    against: str
    """The model it is compared with."""
    difference: float
    """After minus before where both answers have as many words."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    questions: int
    """Questions compared."""


class JudgedModels(Record):
    """What one judge said of the answers of two models to one split's questions."""

    judge: str
    """As it stands in the recipe, e.g. `chat:med42`."""
    served: tuple[str, ...] = ()
    """Its models as their server names them."""
    model: str
    """The model."""
    against: str
    """The model it is compared with."""
    split: str
    """The split."""
    questions: int
    """Questions it was asked about."""
    unscored: dict[str, int] = Field(default_factory=dict)
    """Reason -> questions without marks, which are in no mean."""
    turned: int = 0
    """Questions where either answer was preferred in one of the two orders."""
    differences: tuple[Difference, ...] = ()
    """One per criterion, which is the `metric`; adjusted for the table of all judges. Empty where nothing compares."""


class ExternalScore(Record):
    """A value that a program of its own gave one report, or all of them: a row of `radeval.parquet`."""

    example_id: str = ""
    """The question; empty for a value of all reports together."""
    metric: str
    """Its name in that program."""
    model: str
    """Which model wrote the report."""
    value: float | None = None
    """None where there is none."""
    unscored: str = ""
    """Why; empty where there is one."""


class ExternalMetric(Record):
    """One metric of a program of its own, for all models."""

    metric: str
    """As tables name it, e.g. `RadGraph-F1`."""
    split: str
    """The split."""
    reports: int | None = None
    """Reports behind each mean; None for one value of all reports together."""
    means: dict[str, float] = Field(default_factory=dict)
    """Model -> mean over the reports that have a value for every model; empty where it was not computed."""
    differences: tuple[Difference, ...] = ()
    """To the first model, adjusted for the table of all such metrics; none for one value of all reports together."""
    left_out: int = 0
    """Reports without a value for some model."""
    reasons: tuple[str, ...] = ()
    """Why values are missing."""


class SplitScores(Record):
    """All models on one split."""

    split: str
    """The split."""
    summaries: dict[str, Summary]
    """Model -> its summary, in the order of the run."""
    other_protocols: dict[str, dict[str, Summary]] = Field(default_factory=dict)
    """Protocol -> the same, for comparison with published numbers."""
    corpus_bleu: dict[str, float] = Field(default_factory=dict)
    """Model -> corpus BLEU-4 of its reports, in [0, 1]; empty where the split has none."""


class BlindShare(Record):
    """Share of pairs whose chosen answer is the likelier one."""

    share: float
    """In [0, 1]; a tie counts half."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


class BlindPairs(Record):
    """How well the model, before it was tuned, tells chosen from rejected answers without the image."""

    pairs: int
    """Text pairs that it was asked about."""
    images: int
    """Images they stand on."""
    summed: BlindShare
    """By log-probabilities summed over the answer, as preference tuning compares them."""
    per_token: BlindShare
    """By their means per token, which do not favour the shorter answer."""


class Evaluation(Record):
    """`evaluation.json`."""

    protocol: str
    """Protocol of the headline."""
    models: tuple[str, ...]
    """The models by their slots, in order; the first is what the others are compared with."""
    splits: tuple[SplitScores, ...]
    """In the order of the settings."""
    differences: tuple[Difference, ...]
    """Whole splits."""
    by_error_type: tuple[Difference, ...]
    """Per error type, on the first split."""
    by_tag: tuple[Difference, ...] = ()
    """Per organ and modality where the data tell them, on the first split."""
    equal_length: tuple[AtEqualLength, ...] = ()
    """Whole splits, where the models' answers differ in length."""
    judged: tuple[JudgedModels, ...] = ()
    """What language models said of the answers to the first split; only where a recipe asks some."""
    external: tuple[ExternalMetric, ...] = ()
    """Metrics of reports that RadEval computes, or why it did not; only where a recipe asks for some."""
    probes: tuple[ProbeSummary, ...] = ()
    """What probes found on the first split; only those that measured something."""
    looks: LooksScore | None = None
    """The probes' shares in one score; None where none of its parts was measured."""
    blind: BlindPairs | None = None
    """The pairs that were trained on, seen without their images; None where training had no text pairs."""
    level: float = 0.95
    """Coverage of the intervals."""
    bootstrap_samples: int
    """Resamples behind each interval."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why, one sentence each."""
