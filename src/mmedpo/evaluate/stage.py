"""The stages that answer (`predict-base`, `predict-tuned`) and the one that scores (`evaluate`)."""

from __future__ import annotations

from functools import partial

from mmedpo.config import RunSettings
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.evaluation import evaluate_split, summarise_reliance
from mmedpo.models.checkpoints import model_identity
from mmedpo.records import Evaluation, Example, Prediction, Reliance
from mmedpo.run import BASE, TUNED, Run, Stage, picked
from mmedpo.run.layout import EVALUATION, EXAMPLES, predictions_of, reliance_of
from mmedpo.storage.tables import write_text


def evaluated_examples(run: Run) -> list[Example]:
    """The questions of the evaluated splits.

    Raises:
        EvaluationError: a split of the settings is not in the data, or has no question.
    """
    settings = run.settings.evaluate
    every = run.read(EXAMPLES, Example)
    present = sorted({example.split for example in every})
    for split in settings.splits:
        if split not in present:
            raise EvaluationError(f"evaluate.splits names {split!r}; the data has {', '.join(present)}")
    return [e for e in every if e.split in settings.splits and e.answer_type in settings.answer_types]


def predict_stage(settings: RunSettings, model: str) -> Stage:
    """What the answers of one model of the run are made from."""
    names = ("splits", "max_new_tokens", "batch_size", "answer_types", "reliance_images")
    content = {**picked(settings, *(f"evaluate.{name}" for name in names)), **model_identity(settings.model)}
    writes = (predictions_of(model), reliance_of(model))
    return Stage(
        f"predict-{model}",
        lambda run: predict_model(run, model),
        content,
        reads=(EXAMPLES,),
        writes=writes,
        models=(model,),
    )


def stage(settings: RunSettings) -> Stage:
    """What the evaluation is made from."""
    tables = tuple(table_of(model) for table_of in (predictions_of, reliance_of) for model in (BASE, TUNED))
    return Stage("evaluate", evaluate, picked(settings, "evaluate"), reads=(EXAMPLES, *tables), writes=(EVALUATION,))


def predict_model(run: Run, model: str) -> list[Prediction]:
    """Greedy answers and lesion reliance of one model.

    Args:
        run: reads `examples.parquet`; writes `predictions/<model>.parquet` and `reliance/<model>.parquet`.
        model: a model of the run, e.g. `base` or `tuned`.
    """
    from mmedpo.evaluate.generate import decoding_order, predictor
    from mmedpo.evaluate.reliance import choose_examples, reliance_probe, write_views

    settings = run.settings.evaluate
    questions = decoding_order(evaluated_examples(run))
    answering = partial(predictor, run, model)
    predictions = run.map(f"answers of {model}", questions, settings.batch_size, answering, Prediction)
    run.write(predictions_of(model), Prediction, sorted(predictions, key=lambda p: p.example_id))
    probed = choose_examples(run, settings.splits[0]) if settings.reliance_images else []
    views, drops = write_views(run, probed)
    usable = [example for example in probed if example.image.sha256 in views]
    probing = partial(reliance_probe, run, model, views)
    reliance = run.map(f"reliance of {model}", usable, max(len(usable), 1), probing, Reliance)
    run.write(reliance_of(model), Reliance, reliance)
    run.write_drops(drops)
    return predictions


def evaluate(run: Run) -> Evaluation:
    """Scores stored predictions of base and tuned model; writes `evaluation.json`."""
    settings = run.settings.evaluate
    examples = evaluated_examples(run)
    predictions = {name: run.read(predictions_of(name), Prediction) for name in (BASE, TUNED)}
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
        run.read(reliance_of(BASE), Reliance),
        run.read(reliance_of(TUNED), Reliance),
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
