"""Sample predictions: answers of the first and the last model where their scores differ, drawn with the run's seed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmedpo.records import AnswerType, Example
from mmedpo.registry import register
from mmedpo.report.formatting import count
from mmedpo.report.parts import Measured, Part, Picture
from mmedpo.report.pictures import shuffled, stored_pictures
from mmedpo.report.section import Section
from mmedpo.report.stored import Stored
from mmedpo.run import Run

PREDICTIONS = 8


MAIN_METRIC: Mapping[AnswerType, str] = {"closed": "closed_accuracy", "open": "open_recall", "report": "rouge_l"}
"""The metric by which one answer is called better than another."""


class ModelAnswer(Part):
    """One model's answer to a test question."""

    model: str
    text: str
    right: bool | None = None
    """None where the answer has no right or wrong (open, report)."""
    score: Measured = None
    """Recall or another score in [0, 1], where there is one."""


class PredictionSample(Part):
    """One test question with its ground truth and the models' answers."""

    example_id: str
    question: str
    answer: str
    answers: tuple[ModelAnswer, ...]
    image: Picture | None = None
    other_images: tuple[Picture | None, ...] = ()
    """What is shown behind it."""
    split: str = ""
    error_type: str = ""


class Predictions(Part):
    """Some test questions, and how they were drawn."""

    samples: tuple[PredictionSample, ...]
    note: str = ""


@register("section", "predictions")
class PredictionsSection(Section[Predictions]):
    """Sample predictions."""

    heading = "Sample predictions"
    order = 300
    template = "predictions.html.j2"

    def gather(self, run: Run, stored: Stored) -> Predictions | None:
        """On the first split; gains and losses in proportion. None before the evaluation."""
        return prediction_samples(run, stored)


def prediction_samples(run: Run, stored: Stored) -> Predictions | None:
    """Answers of both models on the first split, where their scores differ: losses first, gains in proportion."""
    if stored.evaluation is None or not stored.evaluation.splits:
        return None
    split, seed = stored.evaluation.splits[0].split, stored.settings.seed
    first, last = stored.evaluation.models[0], stored.evaluation.models[-1]
    scored: dict[str, dict[str, float | None]] = {first: {}, last: {}}
    for item in stored.scores:
        if item.model in scored and (item.split, item.protocol) == (split, stored.evaluation.protocol):
            scored[item.model][item.example_id] = item.values.get(MAIN_METRIC[item.answer_type])
    values = {
        name: (scored[first][name], scored[last][name])
        for name in stored.examples
        if name in scored[first] and name in scored[last]
    }
    known = {name: (b, t) for name, (b, t) in values.items() if b is not None and t is not None}
    ids = shuffled(known, seed, "predictions", str)
    rose = [name for name in ids if known[name][1] > known[name][0]]
    fell = [name for name in ids if known[name][1] < known[name][0]]
    same = [name for name in ids if known[name][1] == known[name][0]]
    gains, losses = proportional(len(rose), len(fell), PREDICTIONS)
    drawn = [*fell[:losses], *rose[:gains]]
    drawn += same[: PREDICTIONS - len(drawn)]
    if not drawn:
        return None
    unchanged = len(drawn) - gains - losses
    shown = [f"{n} {what}" for n, what in ((losses, "losses"), (gains, "gains"), (unchanged, "without change")) if n]
    proportion = " with gains and losses in about this proportion" if gains and losses else ""
    note = (
        f"Of {count(len(known))} questions of {split}, the {last} model scores higher on {count(len(rose))}, lower on "
        f"{count(len(fell))} and the same on {count(len(same))}. Shown: {', '.join(shown)}, drawn with seed {seed}"
        f"{proportion}."
    )
    samples = (_prediction(run, stored, name, dict(zip((first, last), values[name], strict=True))) for name in drawn)
    return Predictions(samples=tuple(samples), note=note)


def proportional(rose: int, fell: int, places: int) -> tuple[int, int]:
    """Places for gains and losses in their true proportion; at least one for each kind that occurs."""
    if rose + fell <= places:
        return rose, fell
    gains = round(places * rose / (rose + fell))
    gains = min(max(gains, 1 if rose else 0), places - (1 if fell else 0))
    return min(gains, rose), min(places - gains, fell)


def _prediction(run: Run, stored: Stored, name: str, values: Mapping[str, float | None]) -> PredictionSample:
    answers = {model: (stored.predictions[model][name].text, value) for model, value in values.items()}
    return prediction_sample(run.image_root, stored.examples[name], answers)


def prediction_sample(
    image_root: Path, example: Example, answers: Mapping[str, tuple[str, float | None]]
) -> PredictionSample:
    """One question with the answer of every model, and the answer's value of `MAIN_METRIC`."""
    closed = example.answer_type == "closed"
    (image, *others), _ = stored_pictures(image_root, example.images)
    return PredictionSample(
        example_id=example.example_id,
        question=example.question,
        answer=example.answer,
        image=image,
        other_images=tuple(others),
        split=example.split,
        error_type=example.error_type,
        answers=tuple(
            ModelAnswer(
                model=model,
                text=text,
                right=bool(value == 1.0) if closed and value is not None else None,
                score=None if closed else value,
            )
            for model, (text, value) in answers.items()
        ),
    )
