"""From item scores to what an evaluation says: summaries of each model, and differences with intervals. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from mmedpo.errors import TooFewImages
from mmedpo.evaluate.effects import length_controlled, standardised
from mmedpo.evaluate.metrics import corpus_bleu
from mmedpo.evaluate.scoring import image_clusters, metric_values, summarise
from mmedpo.evaluate.statistics import holm, paired_difference
from mmedpo.records import (
    AtEqualLength,
    Difference,
    Example,
    ItemScore,
    JudgedAnswers,
    JudgedModels,
    SplitScores,
)
from mmedpo.records.evaluation import LABELS, METRICS

MINIMUM_BY_TYPE = 20
"""Questions of one error type below which it gets no interval of its own."""
OF_REPORTS = ("bleu", "rouge_l", "meteor")
"""Metrics that are not told apart by error type: a report asks for everything at once."""
TOLD_APART = ("organ", "modality")
"""Kinds of tags, `organ:chest`, by which questions are told apart."""


def split_scores(
    items: Sequence[ItemScore],
    models: Sequence[str],
    protocol: str,
    split: str,
    reports: Mapping[str, str] = MappingProxyType({}),
    texts: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> SplitScores:
    """Summaries of all models on one split, under the headline's protocol and under the others.

    Args:
        items: scored answers to the split's questions.
        models: the models, in order.
        protocol: the protocol of the headline.
        split: the split.
        reports: the split's questions that ask for a report -> its true one.
        texts: model -> question -> its answer.
    """
    by_protocol = {
        name: {model: summarise(_of(items, model, name, split)) for model in models}
        for name in dict.fromkeys((protocol, *(item.protocol for item in items)))
    }
    bleu = {
        model: corpus_bleu(list(reports.values()), [texts[model][name] for name in reports])
        for model in (models if reports else ())
    }
    return SplitScores(split=split, summaries=by_protocol.pop(protocol), other_protocols=by_protocol, corpus_bleu=bleu)


def reports_in(examples: Iterable[Example], split: str) -> dict[str, str]:
    """Question -> true report, of a split's questions that ask for one."""
    return {e.example_id: e.answer for e in examples if e.split == split and e.answer_type == "report"}


def compare(
    items: Sequence[ItemScore], models: Sequence[str], protocol: str, splits: Sequence[str], samples: int
) -> tuple[Difference, ...]:
    """One table: every later model minus the first, on every split and metric."""
    found = [
        _difference(_of(items, models[0], protocol, split), _of(items, model, protocol, split), metric, samples)
        for split in splits
        for model in models[1:]
        for metric in METRICS
    ]
    return adjusted([item for item in found if item is not None])


def compare_by_type(
    items: Sequence[ItemScore], models: Sequence[str], protocol: str, split: str, samples: int
) -> tuple[Difference, ...]:
    """One table: every later model minus the first on one split, per error type with enough questions."""
    first = _of(items, models[0], protocol, split)
    found = []
    for model in models[1:]:
        for error_type in sorted({item.error_type for item in first}):
            before = [item for item in first if item.error_type == error_type]
            after = [item for item in _of(items, model, protocol, split) if item.error_type == error_type]
            for metric in (metric for metric in METRICS if metric not in OF_REPORTS):
                if len(metric_values(before, metric)) < MINIMUM_BY_TYPE:
                    continue
                difference = _difference(before, after, metric, samples)
                if difference is not None:
                    found.append(difference.model_copy(update={"error_type": error_type}))
    return adjusted(found)


def compare_by_tag(
    items: Sequence[ItemScore],
    models: Sequence[str],
    protocol: str,
    split: str,
    samples: int,
    tags: Mapping[str, Sequence[str]],
) -> tuple[Difference, ...]:
    """One table: every later model minus the first on one split, per organ and modality with enough questions.

    Args:
        items: all scored answers.
        models: the models; the first is what the others are compared with.
        protocol: the protocol of the headline.
        split: the split.
        samples: resamples behind each interval.
        tags: question -> its tags; a kind of tag that has one value alone tells nothing apart and is left out.
    """
    here = {item.example_id for item in _of(items, models[0], protocol, split)}
    found = []
    for kind in TOLD_APART:
        own = {name: tag for name in here for tag in tags.get(name, ()) if tag.startswith(f"{kind}:")}
        values = sorted(set(own.values()))
        for tag in values if len(values) > 1 else ():
            asked = [item for item in items if own.get(item.example_id) == tag]
            for model in models[1:]:
                before, after = (_of(asked, name, protocol, split) for name in (models[0], model))
                for metric in METRICS:
                    if len(metric_values(before, metric)) >= MINIMUM_BY_TYPE:
                        difference = _difference(before, after, metric, samples)
                        found += [difference.model_copy(update={"tag": tag})] if difference else []
    return adjusted(found)


def compare_at_equal_length(
    items: Sequence[ItemScore],
    models: Sequence[str],
    protocol: str,
    splits: Sequence[str],
    texts: Mapping[str, Mapping[str, str]],
) -> tuple[AtEqualLength, ...]:
    """Every later model minus the first where both answers are equally long; left out where no lengths differ.

    Args:
        items: all scored answers.
        models: the models; the first is what the others are compared with.
        protocol: the protocol of the headline.
        splits: the splits.
        texts: model -> question -> its answer.
    """
    words = {model: {name: len(text.split()) for name, text in own.items()} for model, own in texts.items()}
    found = []
    for split in splits:
        first = _of(items, models[0], protocol, split)
        for model in models[1:]:
            later = _of(items, model, protocol, split)
            for metric in METRICS:
                a, b = metric_values(later, metric), metric_values(first, metric)
                longer = {name: math.log((words[model][name] + 1) / (words[models[0]][name] + 1)) for name in a}
                result = length_controlled(a, b, longer, image_clusters(first)) if a else None
                if result is not None:
                    found.append(
                        AtEqualLength(
                            split=split, metric=metric, model=model, against=models[0], difference=result.estimate,
                            low=result.low, high=result.high, questions=result.n_items,
                        )
                    )  # fmt: skip
    return tuple(found)


def compare_judged(
    rows: Sequence[JudgedAnswers], split: str, images: Mapping[str, str], samples: int
) -> tuple[JudgedModels, ...]:
    """One table: what every judge said of every later model and the first, per criterion.

    Args:
        rows: the marks; what is unscored is counted and is in no mean.
        split: the split they are of.
        images: question -> its cluster.
        samples: resamples behind each interval.
    """
    groups: dict[tuple[str, str, str], list[JudgedAnswers]] = {}
    for row in rows:
        groups.setdefault((row.judge, row.model, row.against), []).append(row)
    found = []
    for (judge, model, against), own in groups.items():
        marked = [row for row in own if not row.unscored]
        differences = []
        for criterion in marked[0].after if marked else ():
            after = {row.example_id: row.after[criterion] for row in marked}
            before = {row.example_id: row.before[criterion] for row in marked}
            difference = difference_of(after, before, images, (split, criterion, model, against), samples)
            differences += [difference] if difference else []
        found.append(
            JudgedModels(
                judge=judge,
                served=tuple(dict.fromkeys(row.served for row in own if row.served)),
                model=model,
                against=against,
                split=split,
                questions=len(own),
                unscored=dict(sorted(Counter(row.unscored for row in own if row.unscored).items())),
                turned=sum(row.turned for row in marked),
                differences=tuple(differences),
            )
        )
    table = iter(adjusted([difference for one in found for difference in one.differences]))
    return tuple(one.model_copy(update={"differences": tuple(next(table) for _ in one.differences)}) for one in found)


def too_few(items: Sequence[ItemScore], models: Sequence[str], protocol: str, splits: Sequence[str]) -> list[str]:
    """What `compare` had to leave out, one sentence each."""
    notes = []
    for split in splits:
        first = _of(items, models[0], protocol, split)
        for metric in METRICS:
            images = {item.image_sha256 for item in first if metric in item.values}
            if len(images) == 1:
                notes.append(f"{split}: all questions with {LABELS[metric]} are on one image; models are not compared")
    return notes


def adjusted(table: Sequence[Difference]) -> tuple[Difference, ...]:
    """The same table with p-values adjusted for all of its comparisons (`statistics.holm`)."""
    p_values = holm({str(number): item.p_value for number, item in enumerate(table)})
    return tuple(item.model_copy(update={"p_adjusted": p_values[str(number)]}) for number, item in enumerate(table))


def _of(items: Sequence[ItemScore], model: str, protocol: str, split: str) -> list[ItemScore]:
    wanted = model, protocol, split
    return [item for item in items if (item.model, item.protocol, item.split) == wanted]


def _difference(
    before: Sequence[ItemScore], after: Sequence[ItemScore], metric: str, samples: int
) -> Difference | None:
    """None where no question has the metric, or only those on one image do (`too_few` tells)."""
    a, b = metric_values(after, metric), metric_values(before, metric)
    if not a and not b:
        return None
    named = (before[0].split, metric, after[0].model, before[0].model)
    return difference_of(a, b, image_clusters(before), named, samples)


def difference_of(
    after: Mapping[str, float],
    before: Mapping[str, float],
    images: Mapping[str, str],
    named: tuple[str, str, str, str],
    samples: int,
) -> Difference | None:
    """Paired by question, clustered by image; None where all questions are on one image.

    Args:
        after: question -> value of the one model.
        before: the same questions -> value of the other.
        images: question -> its cluster.
        named: split, metric, the one model, the other.
        samples: resamples behind the interval.
    """
    try:
        interval = paired_difference(after, before, images, samples=samples, seed=0)
    except TooFewImages:
        return None
    split, metric, model, against = named
    return Difference(
        split=split,
        metric=metric,
        model=model,
        against=against,
        before=sum(before.values()) / len(before),
        after=sum(after.values()) / len(after),
        difference=interval.estimate,
        low=interval.low,
        high=interval.high,
        p_value=interval.p_value,
        p_adjusted=interval.p_value,
        effect=standardised(after, before),
        questions=interval.n_items,
        images=interval.n_clusters,
    )
