"""The stages that answer and probe (`predict-base`, `predict-tuned`) and the one that scores (`evaluate`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mmedpo.chat.identity import asked_models
from mmedpo.config import RunSettings
from mmedpo.errors import TooFewImages
from mmedpo.evaluate.asked import compared, evaluated_examples
from mmedpo.evaluate.blind import blind_shares
from mmedpo.evaluate.comparison import (
    compare,
    compare_at_equal_length,
    compare_by_tag,
    compare_by_type,
    compare_judged,
    reports_in,
    split_scores,
    too_few,
)
from mmedpo.evaluate.joining import join_answers
from mmedpo.evaluate.looks import Headlines, headlines_of, looks_score
from mmedpo.evaluate.probes import Prepared, Probe, Workplace, prober, probes_of
from mmedpo.evaluate.radeval.stage import external_metrics
from mmedpo.evaluate.reading import read_answers, read_questions
from mmedpo.evaluate.scoring import clusters_of, score_predictions
from mmedpo.evaluate.served import ask_server
from mmedpo.models.checkpoints import model_identity
from mmedpo.records import (
    BlindPair,
    BlindPairs,
    Drop,
    Evaluation,
    Example,
    ExternalScore,
    ItemScore,
    JudgedAnswers,
    Prediction,
    ProbeSummary,
)
from mmedpo.run import Run, Stage, picked
from mmedpo.run.layout import BLIND, EVALUATION, EXAMPLES, JUDGED, RADEVAL, SCORES, measured_by, predictions_of
from mmedpo.storage.files import hash_input
from mmedpo.storage.tables import write_text

PUBLISHED = ("strict", "released", "llava-med", "medevalkit")
"""Protocols under which answers are scored beside the headline's, for comparison with published numbers."""


def measured(settings: RunSettings) -> Mapping[str, Probe[Any]]:
    """The probes of a run, by name; answers made elsewhere cannot be probed."""
    return {} if settings.evaluate.answers else probes_of(settings.evaluate)


def predict_stage(settings: RunSettings, model: str) -> Stage:
    """What the answers of one model of the run, and the measurements of the probes, are made from."""
    names = ("splits", "max_new_tokens", "batch_size", "answer_types")
    probes = probes_of(settings.evaluate)
    content = {**picked(settings, *(f"evaluate.{name}" for name in names)), **model_identity(settings.model)}
    content |= asked_models(settings, f"predict-{model}")
    content["probes"] = {name: probe.settings.model_dump(mode="json") for name, probe in probes.items()}
    return Stage(
        f"predict-{model}",
        lambda run: predict_model(run, model),
        content,
        reads=(EXAMPLES,),
        writes=(predictions_of(model), *(measured_by(name, model) for name in probes)),
        models=(model,),
    )


def stage(settings: RunSettings) -> Stage:
    """What the evaluation is made from."""
    models = compared(settings)
    tables = [predictions_of(model) for model in models]
    tables += [measured_by(name, model) for name in measured(settings) for model in models]
    tables += [JUDGED] if settings.evaluate.judges else []
    tables += [RADEVAL] if settings.evaluate.radeval.metrics else []
    return Stage(
        "evaluate",
        evaluate,
        picked(settings, "evaluate"),
        reads=(EXAMPLES, *tables),
        writes=(SCORES, EVALUATION),
        optional=() if settings.evaluate.answers else (BLIND,),
    )


def answers_stage(settings: RunSettings, model: str) -> Stage:
    """What the answers in a file are read with; it takes the place, and the name, of asking a model."""
    file = settings.evaluate.answers[model]
    content = {
        **picked(settings, "evaluate.splits", "evaluate.answer_types"),
        "file": hash_input(file.path),
        "format": file.format,
        "questions": "" if file.questions is None else hash_input(file.questions),
    }
    return Stage(
        f"predict-{model}", lambda run: take_answers(run, model), content, (EXAMPLES,), (predictions_of(model),)
    )


def take_answers(run: Run, model: str) -> list[Prediction]:
    """Answers that another program made, joined to the evaluated questions.

    Args:
        run: reads `examples.parquet`; writes `predictions/<model>.parquet`.
        model: name of the column, in `evaluate.answers`.

    Raises:
        EvaluationError: rows without an answer, or that cannot be joined.
    """
    file = run.settings.evaluate.answers[model]
    asked = [example.example_id for example in evaluated_examples(run)]
    questions = None if file.questions is None else read_questions(file.questions)
    given = read_answers(file.path, file.format)
    predictions, notes = join_answers(run.read(EXAMPLES, Example), asked, given, model, questions)
    for note in notes:
        run.message(note)
    run.write(predictions_of(model), Prediction, sorted(predictions, key=lambda p: p.example_id))
    return predictions


def predict_model(run: Run, model: str) -> list[Prediction]:
    """Greedy answers of one model, and what every probe measures of it.

    Args:
        run: reads `examples.parquet`; writes `predictions/<model>.parquet` and `probes/<probe>/<model>.parquet`.
        model: a model of the run, e.g. `base` or `tuned`.
    """
    predictions = _answers(run, model, evaluated_examples(run))
    run.write(predictions_of(model), Prediction, sorted(predictions, key=lambda p: p.example_id))
    run.write_drops(_probe(run, model))
    return predictions


def _answers(run: Run, model: str, examples: Sequence[Example]) -> list[Prediction]:
    endpoints = run.settings.used_endpoints(f"predict-{model}")
    if endpoints:
        return ask_server(run, endpoints[0], model, examples)
    from mmedpo.evaluate.predictions import decoding_order, predictor

    size, answering = run.settings.evaluate.batch_size, partial(predictor, run, model)
    return run.map(f"answers of {model}", decoding_order(examples), size, answering, Prediction)


def _probe(run: Run, model: str) -> list[Drop]:
    """Measures with every probe of the recipe, on the headline split; what they left out."""
    split = run.settings.evaluate.splits[0]
    examples = [example for example in run.read(EXAMPLES, Example) if example.split == split]
    drops: list[Drop] = []
    for name, probe in probes_of(run.settings.evaluate).items():
        place = Workplace(run.image_root, run.work_folder / "probes" / name, run.current, run.track)
        prepared = prepared_of(probe, place, examples)
        size = probe.together or max(len(prepared.examples), 1)
        probing = partial(prober, run, model, name, place.folder)
        rows = run.map(f"{name} of {model}", prepared.examples, size, probing, probe.record)
        clusters = clusters_of(prepared.examples)
        rows = [row.model_copy(update={"image_sha256": clusters.get(row.example_id, row.image_sha256)}) for row in rows]
        run.write(measured_by(name, model), probe.record, rows)
        drops += prepared.drops
    return drops


def prepared_of(probe: Probe[Any], place: Workplace, examples: Sequence[Example]) -> Prepared:
    """What a probe will ask; questions on several images are counted where it changes all that is shown."""
    if probe.several:
        return probe.prepare(place, examples)
    prepared = probe.prepare(place, [example for example in examples if not example.other_images])
    several = [example for example in examples if example.other_images]
    drops = [Drop(stage=place.stage, item=example.example_id, reason="several-images") for example in several]
    return Prepared(prepared.examples, (*drops, *prepared.drops))


def evaluate(run: Run) -> Evaluation:
    """Scores the stored answers, once for all who speak of them; writes `scores.parquet` and `evaluation.json`.

    Args:
        run: reads `examples.parquet`, `predictions/<model>.parquet` and `probes/<probe>/<model>.parquet`.
    """
    settings, models = run.settings.evaluate, compared(run.settings)
    examples = evaluated_examples(run)
    predictions = [answer for model in models for answer in run.read(predictions_of(model), Prediction)]
    items = [
        item
        for protocol in dict.fromkeys((settings.protocol, *PUBLISHED))
        for item in score_predictions(examples, predictions, protocol)
    ]
    run.write(SCORES, ItemScore, items)
    tags = {example.example_id: example.tags for example in examples}
    texts = {m: {answer.example_id: answer.text for answer in predictions if answer.model == m} for m in models}
    headline, samples = settings.splits[0], settings.bootstrap_samples
    asked = {item.split for item in items}
    splits = [split for split in settings.splits if split in asked]
    notes = [f"{split}: no question of evaluate.answer_types" for split in settings.splits if split not in asked]
    notes += too_few(items, models, settings.protocol, splits)
    probes, headlines, left_out = _summaries(run, headline)
    notes += left_out
    scores = [
        split_scores(
            [i for i in items if i.split == split], models, settings.protocol, split, reports_in(examples, split), texts
        )
        for split in splits
    ]
    evaluation = Evaluation(
        protocol=settings.protocol,
        models=models,
        splits=tuple(scores),
        differences=compare(items, models, settings.protocol, splits, samples),
        by_error_type=compare_by_type(items, models, settings.protocol, headline, samples),
        by_tag=compare_by_tag(items, models, settings.protocol, headline, samples, tags),
        equal_length=compare_at_equal_length(items, models, settings.protocol, splits, texts),
        judged=compare_judged(_judged(run), headline, clusters_of(examples), samples),
        external=external_metrics(_external(run), models, headline, clusters_of(examples), samples),
        probes=tuple(probes),
        looks=looks_score(headlines, list(measured(run.settings)), models, samples),
        blind=_blind(run),
        bootstrap_samples=samples,
        notes=tuple(notes),
    )
    for note in notes:
        run.message(note)
    write_text(run.file(EVALUATION), evaluation.model_dump_json(indent=1))
    return evaluation


def _judged(run: Run) -> list[JudgedAnswers]:
    """What language models said of the answers; a table that another recipe left in the folder is not this one's."""
    return run.read(JUDGED, JudgedAnswers) if run.settings.evaluate.judges else []


def _blind(run: Run) -> BlindPairs | None:
    """How the trained pairs look without their images; None, and a message, where that has no interval."""
    if run.settings.evaluate.answers or not run.file(BLIND).exists():
        return None
    clusters = clusters_of(run.read(EXAMPLES, Example))
    try:
        return blind_shares(run.read(BLIND, BlindPair), clusters, run.settings.evaluate.bootstrap_samples)
    except TooFewImages:
        run.message("all text pairs stand on one image: how they look without it has no interval and is left out")
        return None


def _external(run: Run) -> list[ExternalScore]:
    return run.read(RADEVAL, ExternalScore) if run.settings.evaluate.radeval.metrics else []


def _summaries(run: Run, split: str) -> tuple[list[ProbeSummary], dict[str, Headlines], list[str]]:
    """What every probe found that measured something on two images or more, its headline, and a note on the others."""
    models, samples = compared(run.settings), run.settings.evaluate.bootstrap_samples
    found, headlines, notes = [], {}, []
    for name, probe in measured(run.settings).items():
        rows = {model: run.read(measured_by(name, model), probe.record) for model in models}
        try:
            summary = probe.summarise(name, rows, split, samples)
        except TooFewImages:
            notes.append(f"{split}: probe {name} measured questions on one image only; it is left out")
            continue
        if summary is not None:
            found.append(summary)
            headlines[name] = headlines_of(probe, rows)
    return found, headlines, notes
