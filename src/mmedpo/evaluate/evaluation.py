"""What an evaluation says, as records, and how it is computed from stored predictions. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmedpo.evaluate.scoring import image_clusters, metric_values, score_predictions, summarise
from mmedpo.evaluate.statistics import Interval, mean_interval, paired_difference
from mmedpo.records import (
    Difference,
    Example,
    ItemScore,
    Prediction,
    Reliance,
    ReliancePart,
    SplitScores,
)
from mmedpo.records.evaluation import METRICS

MINIMUM_BY_TYPE = 20
"""Questions of one error type below which it gets no interval of its own."""


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
