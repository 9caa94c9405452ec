"""Predictions against ground truth: joined by id, scored by a named protocol, then summarised."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from mmedpo.errors import EvaluationError, listed
from mmedpo.evaluate.normalise import strict_tokens
from mmedpo.evaluate.protocols import AnswerProtocol
from mmedpo.evaluate.protocols.strict import polarity
from mmedpo.linking import linked
from mmedpo.records import ErrorType, Example, ItemScore, MetricSummary, Prediction, Summary
from mmedpo.registry import lookup


def score_predictions(
    examples: Sequence[Example], predictions: Sequence[Prediction], protocol: str = "strict"
) -> list[ItemScore]:
    """Scores every prediction; each model among them must have answered every example exactly once.

    Joined by `example_id`, never by position; the result is in the order of the examples, models in
    alphabetical order.

    Raises:
        EvaluationError: an example id occurs twice; a prediction is missing, duplicate or about an unknown id.
        ConfigError: no protocol of that name.
    """
    scorer: AnswerProtocol = lookup("protocol", protocol)()
    _refuse("example id(s) that occur more than once", _repeated(example.example_id for example in examples))
    known = {example.example_id for example in examples}
    by_model: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        by_model[prediction.model].append(prediction)
    if examples and not predictions:
        raise EvaluationError(f"no predictions for {len(examples)} example(s); run the generation first")
    answers: dict[tuple[str, str], str] = {}
    for model, given in by_model.items():
        ids = [prediction.example_id for prediction in given]
        _refuse(f"duplicate prediction(s) of model {model!r}", _repeated(ids))
        _refuse(f"prediction(s) of model {model!r} for unknown example ids", sorted(set(ids) - known))
        _refuse(f"missing prediction(s) of model {model!r}", sorted(known - set(ids)))
        answers.update(((model, prediction.example_id), prediction.text) for prediction in given)
    clusters = clusters_of(examples)
    return [
        _score_one(scorer, protocol, example, model, answers[model, example.example_id], clusters[example.example_id])
        for model in sorted(by_model)
        for example in examples
    ]


def summarise(items: Sequence[ItemScore]) -> Summary:
    """Means of one model under one protocol.

    Beside the protocol's own metrics: `yes_rate`, the share of yes/no questions answered yes and only yes (words,
    whatever the protocol); `yes_rate_reference`, the share whose ground truth is yes; `closed_majority_baseline`, the
    accuracy of always giving the most frequent ground truth of the closed questions.

    Raises:
        EvaluationError: no items, or items of several models or protocols.
    """
    kinds = sorted({(item.model, item.protocol) for item in items})
    if len(kinds) != 1:
        raise EvaluationError(f"a summary needs items of exactly one model and protocol, got {kinds or 'none'}")
    by_type: dict[ErrorType, list[ItemScore]] = defaultdict(list)
    for item in items:
        by_type[item.error_type].append(item)
    return Summary(
        model=kinds[0][0],
        protocol=kinds[0][1],
        n_items=len(items),
        metrics=_means(items) | _answer_rates(items),
        by_error_type={error_type: _means(by_type[error_type]) for error_type in sorted(by_type)},
        unscored=dict(sorted(Counter(item.unscored for item in items if item.unscored).items())),
        notes=dict(sorted(Counter(item.note for item in items if item.note).items())),
    )


def metric_values(items: Iterable[ItemScore], metric: str) -> dict[str, float]:
    """example_id -> value of one metric, for the items that have it: the input of `statistics.paired_difference`.

    Raises:
        EvaluationError: an example occurs twice (items of several models or protocols).
    """
    found = [(item.example_id, item.values[metric]) for item in items if metric in item.values]
    _refuse("example id(s) scored more than once", _repeated(example_id for example_id, _ in found))
    return dict(found)


def clusters_of(examples: Sequence[Example]) -> dict[str, str]:
    """example_id -> hash of an image that stands for all questions which share any image with it, through any chain.

    Answers to these are no independent draws. Of questions on one image each it is that image.
    """
    groups = linked([[image.sha256 for image in example.images] for example in examples])
    return {example.example_id: group for example, group in zip(examples, groups, strict=True)}


def image_clusters(items: Iterable[ItemScore]) -> dict[str, str]:
    """example_id -> cluster, as the items hold it."""
    return {item.example_id: item.image_sha256 for item in items}


def _score_one(
    scorer: AnswerProtocol, protocol: str, example: Example, model: str, text: str, cluster: str
) -> ItemScore:
    judgement = scorer.score(example, text)
    reference = "" if example.answer_type == "report" else " ".join(strict_tokens(example.answer))
    asks_yes_no = example.answer_type == "closed" and reference in ("yes", "no")
    return ItemScore(
        example_id=example.example_id,
        split=example.split,
        model=model,
        protocol=protocol,
        answer_type=example.answer_type,
        error_type=example.error_type,
        image_sha256=cluster,
        values=judgement.values,
        reference=reference,
        polarity=polarity(text) if asks_yes_no else "",
        note=judgement.note,
        unscored=judgement.unscored,
    )


def _means(items: Iterable[ItemScore]) -> dict[str, MetricSummary]:
    values: dict[str, list[float]] = defaultdict(list)
    for item in items:
        for metric, value in item.values.items():
            values[metric].append(value)
    return {metric: _mean(values[metric]) for metric in sorted(values)}


def _answer_rates(items: Iterable[ItemScore]) -> dict[str, MetricSummary]:
    closed = [item for item in items if item.answer_type == "closed"]
    yes_no = [item for item in closed if item.polarity]
    rates: dict[str, MetricSummary] = {}
    if yes_no:
        rates["yes_rate"] = _mean([float(item.polarity == "yes") for item in yes_no])
        rates["yes_rate_reference"] = _mean([float(item.reference == "yes") for item in yes_no])
    if closed:
        most_frequent = max(Counter(item.reference for item in closed).values())
        rates["closed_majority_baseline"] = MetricSummary(mean=most_frequent / len(closed), n=len(closed))
    return rates


def _mean(values: Sequence[float]) -> MetricSummary:
    return MetricSummary(mean=sum(values) / len(values), n=len(values))


def _repeated(ids: Iterable[str]) -> list[str]:
    return sorted(example_id for example_id, count in Counter(ids).items() if count > 1)


def _refuse(what: str, ids: Sequence[str]) -> None:
    if ids:
        raise EvaluationError(f"{len(ids)} {what}: {listed(ids)}; every example needs exactly one prediction per model")
