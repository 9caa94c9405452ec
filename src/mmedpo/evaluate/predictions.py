"""Greedy answers of a model: to the questions of the evaluated splits, and to a few while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmedpo.engine import FeatureStore
from mmedpo.evaluate.scoring import score_predictions
from mmedpo.imaging.pictures import image_file, read_image_file
from mmedpo.models.generation import Decoding, generate_answers
from mmedpo.models.slots import load_slot
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Example, ItemScore, Prediction
from mmedpo.run import Run

PROBE_TOKENS, PROBE_BATCH = 16, 120
"""Length limit and batch of the answers while a model is trained: these are short, and reports are not asked for."""


def predictor(run: Run, model: str) -> Callable[[Sequence[Example]], list[Prediction]]:
    """A model of the run, loaded: one greedy answer per example of a chunk."""
    vlm = load_slot(run.slot(model))
    features = FeatureStore(vlm, read_image_file)
    longest, root = run.settings.evaluate.max_new_tokens, run.image_root
    return lambda examples: predict(vlm, examples, features, root, longest, model)


def predict(
    vlm: VisionLanguageModel,
    examples: Sequence[Example],
    features: FeatureStore,
    image_root: Path,
    max_new_tokens: int,
    model: str,
) -> list[Prediction]:
    """One greedy answer per example, in order; one batch."""
    answers = generate_answers(
        vlm,
        [example.question for example in examples],
        features([image_file(image_root, example.image.path) for example in examples]),
        Decoding(max_new_tokens),
    )
    return [
        Prediction(example_id=example.example_id, model=model, text=answer.text, finished=answer.finished)
        for example, answer in zip(examples, answers, strict=True)
    ]


def decoding_order(examples: Sequence[Example]) -> list[Example]:
    """Short answers together and reports last, so that a batch does not wait for its longest answer."""
    rank = {"closed": 0, "open": 1, "report": 2}
    return sorted(examples, key=lambda example: (rank[example.answer_type], example.example_id))


def probe_answers(
    vlm: VisionLanguageModel,
    features: FeatureStore,
    examples: Sequence[Example],
    image_root: Path,
    protocol: str,
) -> Mapping[str, float]:
    """The generation probe of training: closed accuracy and open recall on a few validation questions.

    Returns:
        `probe_closed_accuracy` and `probe_open_recall` where there are such questions, and
        `probe_score`, the mean of what there is.
    """
    ordered = decoding_order(examples)
    predictions = [
        prediction
        for start in range(0, len(ordered), PROBE_BATCH)
        for prediction in predict(
            vlm, ordered[start : start + PROBE_BATCH], features, image_root, PROBE_TOKENS, "probe"
        )
    ]
    return probe_scores(score_predictions(ordered, predictions, protocol))


def probe_scores(items: Sequence[ItemScore]) -> Mapping[str, float]:
    """Means over the items, as `probe_answers` gives them."""
    result: dict[str, float] = {}
    for metric in ("closed_accuracy", "open_recall"):
        values = [item.values[metric] for item in items if metric in item.values]
        if values:
            result[f"probe_{metric}"] = sum(values) / len(values)
    result["probe_score"] = sum(result.values()) / len(result)
    return result
