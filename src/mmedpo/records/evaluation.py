"""What is said of models: their answers, the scores of these, what probes measured, and what models are compared by."""

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


class Measurement(Record):
    """What every row of a probe's table holds; a probe adds what it measured."""

    example_id: str
    """The question."""
    model: str
    """Which model, by its slot in the run."""
    image_sha256: str
    """Cluster of the intervals."""


class Reliance(Measurement):
    """log pi(y_w) of one question of one model under the clean and the two noised views."""

    clean: float
    """log pi(y_w | clean image), nats, summed over the answer."""
    lesion: float
    """The same with the lesion noised."""
    elsewhere: float
    """The same with an equal area elsewhere noised."""


class Difference(Record):
    """One model minus another on one metric of one split, paired by question, clustered by image."""

    split: str
    """The split."""
    metric: str
    """The metric."""
    error_type: ErrorType | None = None
    """Set when only questions of this type are compared."""
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
    questions: int
    """Questions compared."""
    images: int
    """Images they stand on."""


class ProbePart(Record):
    """Mean of one quantity of a probe for one model, or the difference between two models."""

    quantity: str
    """One of the probe's quantities."""
    model: str
    """The model."""
    against: str = ""
    """The model that was subtracted, question by question; empty for the mean of one model."""
    mean: float
    """Mean over the questions."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    p_value: float | None = None
    """Two-sided, of a difference."""
    p_adjusted: float | None = None
    """The same, adjusted by Holm's method for the differences of this probe."""
    questions: int
    """Questions measured."""


class ProbeSummary(Record):
    """What one probe found, with all that a reader who does not know it needs."""

    probe: str
    """Its registered name."""
    title: str
    """Its name in words, e.g. `Lesion reliance`."""
    unit: str
    """Unit of its quantities, e.g. `nats`."""
    headline: str
    """The quantity by which models are compared."""
    about: str
    """What the headline is, as one clause."""
    split: str
    """The split it was measured on."""
    parts: tuple[ProbePart, ...]
    """Every quantity of every model, and the differences to the first model."""

    def part(self, quantity: str, model: str, against: str = "") -> ProbePart | None:
        """One of the parts; None where it was not measured."""
        wanted = quantity, model, against
        return next((part for part in self.parts if (part.quantity, part.model, part.against) == wanted), None)


MAP_SIDE = 24
"""Rows and columns of a map of where a model looks."""


class Looking(Measurement):
    """Where on the image a true answer comes from. Shares are of the image tokens that stand for a place."""

    attention: float
    """Share of the answer's attention to the image that lies inside the annotated lesion, 0..1."""
    relevance: float
    """The same of the size of the gradient of log pi(y_w) with respect to the image tokens."""
    chance: float
    """The same of tokens that all weigh alike: the lesion's share of what the model is shown."""
    image: float
    """Share of the answer's attention that goes to image tokens at all, of all it sees."""
    attention_map: tuple[float, ...] = ()
    """[MAP_SIDE * MAP_SIDE] the attention's shares over the picture, row by row."""
    relevance_map: tuple[float, ...] = ()
    """The same of the gradient."""


class LooksPart(Record):
    """One probe that the score of looking is made of."""

    probe: str
    """Its registered name."""
    title: str
    """Its name in words."""
    missing: str = ""
    """Why it has no value in this run; empty when it has."""


class LooksMean(Record):
    """The score of one model, or the difference between two."""

    model: str
    """The model."""
    against: str = ""
    """The model that was subtracted; empty for the score of one."""
    mean: float
    """Mean of the parts' headlines, each weighing the same."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    p_value: float | None = None
    """Two-sided, of a difference."""


class LooksScore(Record):
    """Does the model look at the image? One number, or which parts of it are missing."""

    parts: tuple[LooksPart, ...]
    """What it is made of, missing ones included."""
    means: tuple[LooksMean, ...] = ()
    """Of every model, and the differences to the first; empty while a part is missing."""
    questions: int = 0
    """Distinct questions behind it."""
    images: int = 0
    """Images they stand on."""


class SplitScores(Record):
    """All models on one split."""

    split: str
    """The split."""
    summaries: dict[str, Summary]
    """Model -> its summary, in the order of the run."""
    other_protocols: dict[str, dict[str, Summary]] = Field(default_factory=dict)
    """Protocol -> the same, for comparison with published numbers."""


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
    probes: tuple[ProbeSummary, ...] = ()
    """What probes found on the first split; only those that measured something."""
    looks: LooksScore | None = None
    """The probes' shares in one score; None where none of its parts was measured."""
    level: float = 0.95
    """Coverage of the intervals."""
    bootstrap_samples: int
    """Resamples behind each interval."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why, one sentence each."""


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
    p_value: float | None = None
    """Two-sided, of the difference."""
    p_adjusted: float | None = None
    """The same, adjusted by Holm's method for all differences of its table."""
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
    p_value: float
    """Two-sided."""
    p_adjusted: float
    """The same, adjusted by Holm's method for all contrasts of its table."""


class ProbeCell(Record):
    """One arm under one probe."""

    arm: str
    """Name of the arm; `base` for the model before tuning."""
    means: dict[str, float]
    """Quantity of the probe -> its mean over questions and seeds."""
    difference: float | None = None
    """Headline quantity of the arm minus that of the base; None for the base."""
    low: float | None = None
    """Lower end of its 95 % interval."""
    high: float | None = None
    """Upper end."""
    p_value: float | None = None
    """Two-sided, of the difference."""
    p_adjusted: float | None = None
    """The same, adjusted by Holm's method for the arms under this probe."""
