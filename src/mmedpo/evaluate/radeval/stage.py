"""The stage that has RadEval score the reports of the first split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mmedpo.config import RunSettings
from mmedpo.evaluate.asked import compared, evaluated_examples
from mmedpo.evaluate.comparison import adjusted, difference_of
from mmedpo.evaluate.radeval.environment import absent, identity, opened, place
from mmedpo.evaluate.radeval.process import score_pairs
from mmedpo.records import Difference, ExternalMetric, ExternalScore, Prediction
from mmedpo.run import Run, Stage, picked
from mmedpo.run.layout import EXAMPLES, RADEVAL, predictions_of
from mmedpo.storage.tables import read_table, write_table

STAGE = "radeval"


class Metric(NamedTuple):
    """One metric as tables name it."""

    title: str
    key: str
    """Its value in what RadEval returns."""
    each: bool = True
    """Whether every report has a value; else all reports of a split together have one."""


METRICS = {
    "radgraph": Metric("RadGraph-F1", "radgraph_partial"),
    "f1chexbert": Metric("CheXbert-F1", "f1chexbert_all_micro_f1", each=False),
    "ratescore": Metric("RaTEScore", "ratescore"),
    "green": Metric("GREEN", "green"),
    "crimson": Metric("CRIMSON", "crimson"),
}
"""RadEval's name -> metric. RadGraph-F1 is its partial reward; CheXbert-F1 is micro-averaged over 14 observations."""


def radeval_stage(settings: RunSettings) -> Stage:
    """What the scores are made from; an environment that is installed later makes it run again."""
    names = ("evaluate.radeval", "evaluate.splits", "evaluate.answer_types")
    answers = tuple(predictions_of(model) for model in compared(settings))
    content = {**picked(settings, *names), "environment": identity(place())}
    return Stage(STAGE, score_reports, content, reads=(EXAMPLES, *answers), writes=(RADEVAL,))


def score_reports(run: Run) -> list[ExternalScore]:
    """Scores every model's reports; what cannot be computed is a row with its reason, and never ends the run.

    Reads `examples.parquet` and `predictions/<model>.parquet`; writes `radeval.parquet`. A metric that is finished for
    a model is not computed again when the stage was killed.
    """
    settings = run.settings.evaluate
    split = settings.splits[0]
    reports = [e for e in evaluated_examples(run) if (e.split, e.answer_type) == (split, "report")]
    ids, references = [e.example_id for e in reports], [e.answer for e in reports]
    rows: list[ExternalScore] = []
    run.work_folder.mkdir(parents=True, exist_ok=True)
    for name in settings.radeval.metrics:
        for model in compared(run.settings):
            answers = {p.example_id: p.text for p in run.read(predictions_of(model), Prediction)}
            done = run.work_folder / f"{name}-{model}.parquet"
            if not done.exists():
                pairs = list(zip(references, [answers[i] for i in ids], strict=True))
                write_table(done, ExternalScore, _scored(run, name, model, ids, pairs))
            rows += read_table(done, ExternalScore)
    run.write(RADEVAL, ExternalScore, rows)
    missing = {row.metric: row.unscored for row in rows if row.unscored}
    for metric, reason in missing.items():
        run.message(f"{METRICS[metric].title} not computed, in part or at all: {reason}")
    return rows


def _scored(
    run: Run, name: str, model: str, ids: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[ExternalScore]:
    settings, metric, folder = run.settings.evaluate.radeval, METRICS[name], place()
    reason = absent(folder, name) or ("" if pairs else "no question of the split asks for a report")
    if reason:
        return [ExternalScore(metric=name, model=model, unscored=reason)]
    log = Path(run.work_folder / f"{name}.log").resolve()
    found = score_pairs(
        partial(opened, folder, name, log),
        pairs,
        metric.key,
        each=metric.each,
        size=settings.batch_size,
        timeout=settings.timeout,
        advance=run.track(f"{metric.title} of {model}"),
    )
    return [
        ExternalScore(example_id=i, metric=name, model=model, unscored=value)
        if isinstance(value, str)
        else ExternalScore(example_id=i, metric=name, model=model, value=value)
        for i, value in zip(ids if metric.each else [""], found, strict=True)
    ]


def external_metrics(
    rows: Sequence[ExternalScore], models: Sequence[str], split: str, images: dict[str, str], samples: int
) -> tuple[ExternalMetric, ...]:
    """One table: the mean of every metric and model, and the differences to the first. Pure.

    A report that lacks a value for any model is in no mean. A metric without any value says why.
    """
    found = []
    for name in dict.fromkeys(row.metric for row in rows if row.metric in METRICS):
        own = [row for row in rows if row.metric == name]
        values = {m: {r.example_id: r.value for r in own if r.model == m and r.value is not None} for m in models}
        shared = set.intersection(*(set(of) for of in values.values()))
        reasons = list(dict.fromkeys(row.unscored for row in own if row.unscored))
        kept = {model: {i: v for i, v in of.items() if i in shared} for model, of in values.items()}
        found.append(
            ExternalMetric(
                metric=METRICS[name].title,
                split=split,
                reports=len(shared) if METRICS[name].each else None,
                means={model: sum(of.values()) / len(of) for model, of in kept.items() if of},
                differences=tuple(_differences(kept, METRICS[name], split, images, samples)) if shared else (),
                left_out=len({row.example_id for row in own if row.unscored}) if shared else 0,
                reasons=tuple(reasons),
            )
        )
    table = iter(adjusted([difference for one in found for difference in one.differences]))
    return tuple(one.model_copy(update={"differences": tuple(next(table) for _ in one.differences)}) for one in found)


def _differences(
    values: dict[str, dict[str, float]], metric: Metric, split: str, images: dict[str, str], samples: int
) -> list[Difference]:
    """None of a metric that has one value for all reports: no resample of it is known."""
    first, *later = values
    named = [(split, metric.title, model, first) for model in later] if metric.each else []
    found = [difference_of(values[name[2]], values[first], images, name, samples) for name in named]
    return [difference for difference in found if difference is not None]
