"""Greedy answers of a model: to the questions of the evaluated splits, and to a few while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmedpo.engine import Asked, Engine, FeatureStore
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.scoring import score_predictions
from mmedpo.imaging.pictures import read_image_file
from mmedpo.models.generation import Decoding
from mmedpo.models.slots import load_asked
from mmedpo.records import Example, ItemScore, Prediction
from mmedpo.run import Run

PROBE_TOKENS, PROBE_REPORT_TOKENS = 16, 64
"""Length limit of the answers while a model is trained; of reports, the beginning is enough to see it degenerate."""


def predictor(run: Run, model: str) -> Callable[[Sequence[Example]], list[Prediction]]:
    """A model of the run, loaded: one greedy answer per example of a chunk."""
    vlm = load_asked(run.slot(model))
    engine = Engine.from_settings(vlm, FeatureStore(vlm, read_image_file, place="recompute"), run.settings)
    longest, root = run.settings.evaluate.max_new_tokens, run.image_root

    def answer(examples: Sequence[Example]) -> list[Prediction]:
        engine.settle_on([Asked.of(example, root) for example in examples[:2]], run.settings.engine, run.message)
        return predict(engine, examples, root, longest, model)

    return answer


def predict(
    engine: Engine,
    examples: Sequence[Example],
    image_root: Path,
    max_new_tokens: int,
    model: str,
) -> list[Prediction]:
    """One greedy answer per example, in order."""
    answers = engine.answers([Asked.of(example, image_root) for example in examples], Decoding(max_new_tokens))
    return [
        Prediction(example_id=example.example_id, model=model, text=answer.text, finished=answer.finished)
        for example, answer in zip(examples, answers, strict=True)
    ]


def decoding_order(examples: Sequence[Example]) -> list[Example]:
    """Questions on one image together, for it is read once for all of them; reports first: they take longest, and no
    worker should be left alone with them at the end."""
    return sorted(examples, key=lambda e: (e.answer_type != "report", e.image.path, e.example_id))


@dataclass(frozen=True)
class AnswersProbe:
    """The generation probe of training: closed accuracy and open recall on a few validation questions, or ROUGE-L."""

    protocol: str
    """How answers are scored."""

    def decoding(self, examples: Sequence[Example]) -> Decoding:
        """Greedy; as long as these questions' answers need."""
        reports = any(example.answer_type == "report" for example in examples)
        return Decoding(PROBE_REPORT_TOKENS if reports else PROBE_TOKENS)

    def score(self, examples: Sequence[Example], answers: Sequence[str]) -> Mapping[str, float]:
        """`probe_closed_accuracy`, `probe_open_recall` and `probe_rouge_l` where there are such questions, and
        `probe_score`, the mean of what there is.

        Raises:
            EvaluationError: the protocol scores none of them.
        """
        predictions = [
            Prediction(example_id=example.example_id, model="probe", text=text, finished=True)
            for example, text in zip(examples, answers, strict=True)
        ]
        scores = probe_scores(score_predictions(examples, predictions, self.protocol))
        if not scores:
            raise EvaluationError(
                f"evaluate.protocol={self.protocol!r} scores none of the {len(examples)} validation questions, so "
                "training cannot be watched; use evaluate.protocol=strict"
            )
        return scores


def probe_scores(items: Sequence[ItemScore]) -> Mapping[str, float]:
    """Means over the items, as `AnswersProbe` gives them; empty where none is scored."""
    result: dict[str, float] = {}
    for metric in ("closed_accuracy", "open_recall", "rouge_l"):
        values = [item.values[metric] for item in items if metric in item.values]
        if values:
            result[f"probe_{metric}"] = sum(values) / len(values)
    if result:
        result["probe_score"] = sum(result.values()) / len(result)
    return result
