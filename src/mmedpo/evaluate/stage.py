"""The stages that answer (`predict-base`, `predict-tuned`) and the one that scores (`evaluate`)."""

from __future__ import annotations

from mmedpo.engine import Engine, FeatureStore
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.evaluation import evaluate_split, summarise_reliance
from mmedpo.evaluate.generate import decoding_order, predict
from mmedpo.evaluate.reliance import choose_examples, measure_reliance, write_views
from mmedpo.imaging.images import read_image
from mmedpo.models.hub import load_model, load_tuned
from mmedpo.records import Evaluation, Example, Prediction, Reliance
from mmedpo.run import Run
from mmedpo.storage.tables import write_text

EVALUATION = "evaluation.json"


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
    """Greedy answers and lesion reliance of one model.

    Args:
        run: reads `examples.parquet` (and `adapter/`); writes `predictions/<model>.parquet` and
            `reliance/<model>.parquet`.
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
    probed = choose_examples(run, settings.splits[0]) if settings.reliance_images else []
    views, drops = write_views(run, probed)
    engine = Engine.from_settings(vlm, features, run.settings)
    run.write(
        f"reliance/{model}.parquet",
        Reliance,
        measure_reliance(engine, probed, views, run.image_root, model, run.message),
    )
    run.write_drops(drops)
    return predictions


def evaluate(run: Run) -> Evaluation:
    """Scores stored predictions of base and tuned model; writes `evaluation.json`."""
    settings = run.settings.evaluate
    examples = evaluated_examples(run)
    predictions = {name: run.read(f"predictions/{name}.parquet", Prediction) for name in ("base", "tuned")}
    splits, differences, by_type = [], [], []
    for split in settings.splits:
        here = [example for example in examples if example.split == split]
        scores, whole, parts = evaluate_split(
            here, predictions, settings.protocol, split, settings.bootstrap_samples, split == settings.splits[0]
        )
        splits.append(scores)
        differences += whole
        by_type += parts
    reliance = summarise_reliance(
        run.read("reliance/base.parquet", Reliance),
        run.read("reliance/tuned.parquet", Reliance),
        settings.bootstrap_samples,
    )
    evaluation = Evaluation(
        protocol=settings.protocol,
        splits=tuple(splits),
        differences=tuple(differences),
        by_error_type=tuple(by_type),
        reliance=tuple(reliance),
        bootstrap_samples=settings.bootstrap_samples,
    )
    write_text(run.file(EVALUATION), evaluation.model_dump_json(indent=1))
    return evaluation
