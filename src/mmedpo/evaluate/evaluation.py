"""What an evaluation says, as records, and how it is computed from stored predictions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from mmedpo.evaluate.scoring import (
    ItemScore,
    Summary,
    image_clusters,
    metric_values,
    score_predictions,
    summarise,
)
from mmedpo.evaluate.statistics import Interval, mean_interval, paired_difference
from mmedpo.records import ErrorType, Example, Prediction, Record

METRICS = ("closed_accuracy", "open_recall", "bleu", "rouge_l", "meteor")
"""Metrics that are compared, where the split has such questions."""

MINIMUM_BY_TYPE = 20
"""Questions of one error type below which it gets no interval of its own."""


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


def compare(
    base: Sequence[ItemScore], tuned: Sequence[ItemScore], split: str, samples: int, by_type: bool = False
) -> list[Difference]:
    """Differences of all metrics; per error type when asked."""
    found = []
    for error_type in sorted({item.error_type for item in base}) if by_type else [None]:
        kept_base = [item for item in base if error_type in (None, item.error_type)]
        kept_tuned = [item for item in tuned if error_type in (None, item.error_type)]
        for metric in METRICS:
            a, b = metric_values(kept_tuned, metric), metric_values(kept_base, metric)
            if not a or (by_type and len(a) < MINIMUM_BY_TYPE) or (by_type and metric in ("bleu", "rouge_l", "meteor")):
                continue
            interval = paired_difference(a, b, image_clusters(kept_base), samples=samples, seed=0)
            found.append(
                Difference(
                    split=split,
                    metric=metric,
                    error_type=error_type,
                    base=sum(b.values()) / len(b),
                    tuned=sum(a.values()) / len(a),
                    difference=interval.estimate,
                    low=interval.low,
                    high=interval.high,
                    questions=interval.n_items,
                    images=interval.n_clusters,
                )
            )
    return found


def evaluate_split(
    examples: Sequence[Example],
    predictions: Mapping[str, Sequence[Prediction]],
    protocol: str,
    split: str,
    samples: int,
    by_type: bool,
) -> tuple[SplitScores, list[Difference], list[Difference]]:
    """Scores both models on one split under every protocol; intervals under the headline's."""
    wanted = {example.example_id for example in examples}
    both = [p for name in ("base", "tuned") for p in predictions[name] if p.example_id in wanted]
    scored: dict[str, dict[str, list[ItemScore]]] = {}
    for name in dict.fromkeys((protocol, "strict", "released", "llava-med")):
        items = score_predictions(examples, both, name)
        scored[name] = {model: [item for item in items if item.model == model] for model in ("base", "tuned")}
    summaries = {name: {m: summarise(items) for m, items in models.items()} for name, models in scored.items()}
    main = scored[protocol]
    return (
        SplitScores(
            split=split,
            summaries=summaries[protocol],
            other_protocols={name: value for name, value in summaries.items() if name != protocol},
        ),
        compare(main["base"], main["tuned"], split, samples),
        compare(main["base"], main["tuned"], split, samples, by_type=True) if by_type else [],
    )


def summarise_reliance(base: Sequence[Reliance], tuned: Sequence[Reliance], samples: int) -> list[ReliancePart]:
    """Mean falls of both models and their paired difference, clustered by image."""
    if not base or not tuned:
        return []
    clusters = {item.example_id: item.image_sha256 for item in base}
    falls = {name: _falls(items) for name, items in (("base", base), ("tuned", tuned))}
    parts = []
    for region in ("lesion", "elsewhere", "contrast"):
        for model in ("base", "tuned"):
            interval = mean_interval(falls[model][region], clusters, samples=samples, seed=0)
            parts.append(_part(model, region, interval))
        interval = paired_difference(falls["tuned"][region], falls["base"][region], clusters, samples=samples, seed=0)
        parts.append(_part("tuned-base", region, interval))
    return parts


def _falls(items: Sequence[Reliance]) -> dict[str, dict[str, float]]:
    return {
        "lesion": {item.example_id: item.clean - item.lesion for item in items},
        "elsewhere": {item.example_id: item.clean - item.elsewhere for item in items},
        "contrast": {item.example_id: item.elsewhere - item.lesion for item in items},
    }


def _part(model: str, region: str, interval: Interval) -> ReliancePart:
    return ReliancePart(
        model=model,
        region=region,
        mean=interval.estimate,
        low=interval.low,
        high=interval.high,
        questions=interval.n_items,
    )
