"""The stages that answer (`predict-base`, `predict-tuned`) and the one that scores (`evaluate`)."""

from __future__ import annotations

from collections.abc import Sequence

from mmedpo.engine import Engine, FeatureStore
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.comparison import compare, compare_by_type, split_scores
from mmedpo.evaluate.predictions import decoding_order, predict
from mmedpo.evaluate.probes import Subject, probes_of
from mmedpo.evaluate.scoring import score_predictions
from mmedpo.imaging.images import read_image
from mmedpo.models.hub import load_model, load_tuned
from mmedpo.records import Drop, Evaluation, Example, ItemScore, Prediction
from mmedpo.run import Run
from mmedpo.storage.tables import write_text

EVALUATION = "evaluation.json"
SCORES = "scores.parquet"
PUBLISHED = ("strict", "released", "llava-med")
"""Protocols under which answers are scored beside the headline's, for comparison with published numbers."""


def evaluated_examples(run: Run) -> list[Example]:
    """The questions of the evaluated splits.

    Raises:
        EvaluationError: a split of the settings is not in the data, or has no question.
    """
    settings = run.settings.evaluate
    every = run.read("examples.parquet", Example)
    present = sorted({example.split for example in every})
    for split in settings.splits:
        if split not in present:
            raise EvaluationError(f"evaluate.splits names {split!r}; the data has {', '.join(present)}")
    return [e for e in every if e.split in settings.splits and e.answer_type in settings.answer_types]


def predict_model(run: Run, model: str) -> list[Prediction]:
    """Greedy answers of one model, and what every probe measures of it.

    Args:
        run: reads `examples.parquet` (and `adapter/`); writes `predictions/<model>.parquet` and
            `probes/<probe>/<model>.parquet`.
        model: `base` or `tuned`.
    """
    settings = run.settings.evaluate
    target = run.target_model
    vlm = load_model(target) if model == "base" else load_tuned(target, run.file(run.settings.train.result))
    features = FeatureStore(vlm, lambda path: read_image(path.parent, path.name))
    predictions = run.chunks(
        f"answers of {model}",
        decoding_order(evaluated_examples(run)),
        settings.batch_size,
        lambda chunk: predict(vlm, chunk, features, run.image_root, settings.max_new_tokens, model),
        Prediction,
    )
    run.write(f"predictions/{model}.parquet", Prediction, sorted(predictions, key=lambda p: p.example_id))
    _probe(run, model, Engine.from_settings(vlm, features, run.settings))
    return predictions


def _probe(run: Run, model: str, engine: Engine) -> None:
    """Measures with every probe of the recipe, on the headline split."""
    split = run.settings.evaluate.splits[0]
    examples = [example for example in run.read("examples.parquet", Example) if example.split == split]
    drops: list[Drop] = []
    for name, probe in probes_of(run.settings.evaluate).items():
        folder = run.work_folder / "probes" / name
        measured = probe.measure(Subject(model, engine, examples, run.image_root, folder, run.track, run.message))
        run.write(f"probes/{name}/{model}.parquet", probe.record, measured.rows)
        drops += measured.drops
    run.write_drops(drops)


def evaluate(run: Run, models: Sequence[str] = ("base", "tuned")) -> Evaluation:
    """Scores the stored answers, once for all who speak of them; writes `scores.parquet` and `evaluation.json`.

    Args:
        run: reads `examples.parquet`, `predictions/<model>.parquet` and `probes/<probe>/<model>.parquet`.
        models: the models by their slots; the first is what the others are compared with.
    """
    settings = run.settings.evaluate
    examples = evaluated_examples(run)
    predictions = [answer for model in models for answer in run.read(f"predictions/{model}.parquet", Prediction)]
    items = [
        item
        for protocol in dict.fromkeys((settings.protocol, *PUBLISHED))
        for item in score_predictions(examples, predictions, protocol)
    ]
    run.write(SCORES, ItemScore, items)
    headline, samples = settings.splits[0], settings.bootstrap_samples
    summaries = (
        probe.summarise(
            name,
            {model: run.read(f"probes/{name}/{model}.parquet", probe.record) for model in models},
            headline,
            samples,
        )
        for name, probe in probes_of(settings).items()
    )
    evaluation = Evaluation(
        protocol=settings.protocol,
        models=tuple(models),
        splits=tuple(
            split_scores([item for item in items if item.split == split], models, settings.protocol, split)
            for split in settings.splits
        ),
        differences=compare(items, models, settings.protocol, settings.splits, samples),
        by_error_type=compare_by_type(items, models, settings.protocol, headline, samples),
        probes=tuple(summary for summary in summaries if summary is not None),
        bootstrap_samples=samples,
    )
    write_text(run.file(EVALUATION), evaluation.model_dump_json(indent=1))
    return evaluation
