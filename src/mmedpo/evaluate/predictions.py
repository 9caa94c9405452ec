"""Greedy answers of a model: to the questions of the evaluated splits, and to a few while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mmedpo.engine import FeatureStore
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.scoring import score_predictions
from mmedpo.imaging.pictures import image_files, read_image_file
from mmedpo.models.generation import Decoding, generate_answers
from mmedpo.models.slots import load_slot
from mmedpo.models.vlm import VisionLanguageModel
from mmedpo.records import Example, ItemScore, Prediction
from mmedpo.run import Run

PROBE_TOKENS, PROBE_BATCH = 16, 120
"""Length limit and batch of the answers while a model is trained: these are short."""
PROBE_REPORT_TOKENS, PROBE_REPORT_BATCH = 64, 16
"""The same of reports: their beginning is enough to see a model degenerate."""


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
        features.each([image_files(image_root, example.images) for example in examples]),
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
    """The generation probe of training: closed accuracy and open recall on a few validation questions, or ROUGE-L.

    Returns:
        `probe_closed_accuracy`, `probe_open_recall` and `probe_rouge_l` where there are such questions, and
        `probe_score`, the mean of what there is.

    Raises:
        EvaluationError: the protocol scores none of them.
    """
    ordered = decoding_order(examples)
    reports = any(example.answer_type == "report" for example in examples)
    size, longest = (PROBE_REPORT_BATCH, PROBE_REPORT_TOKENS) if reports else (PROBE_BATCH, PROBE_TOKENS)
    predictions = [
        prediction
        for start in range(0, len(ordered), size)
        for prediction in predict(vlm, ordered[start : start + size], features, image_root, longest, "probe")
    ]
    scores = probe_scores(score_predictions(ordered, predictions, protocol))
    if not scores:
        raise EvaluationError(
            f"evaluate.protocol={protocol!r} scores none of the {len(ordered)} validation questions, so training "
            "cannot be watched; use evaluate.protocol=strict"
        )
    return scores


def probe_scores(items: Sequence[ItemScore]) -> Mapping[str, float]:
    """Means over the items, as `probe_answers` gives them; empty where none is scored."""
    result: dict[str, float] = {}
    for metric in ("closed_accuracy", "open_recall", "rouge_l"):
        values = [item.values[metric] for item in items if metric in item.values]
        if values:
            result[f"probe_{metric}"] = sum(values) / len(values)
    if result:
        result["probe_score"] = sum(result.values()) / len(result)
    return result
