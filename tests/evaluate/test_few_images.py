"""What is optional never ends an evaluation: too few images or questions are left out with a note."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmedpo.config import validate_settings
from mmedpo.errors import EvaluationError
from mmedpo.evaluate.stage import evaluate
from mmedpo.records import Evaluation, Example, ImageRef, Prediction, Reliance
from mmedpo.run import open_run
from mmedpo.run.layout import EXAMPLES, measured_by, predictions_of

PROBE = "lesion-reliance"


def example(number: int, image: str, split: str, answer_type: str = "closed") -> Example:
    return Example(
        example_id=f"{split}-{number}",
        dataset="phantom",
        split=split,
        image=ImageRef(path="a.png", sha256=image * 64, width=8, height=8),
        question="Is there a mass?",
        answer="yes",
        answer_type=answer_type,  # type: ignore[arg-type]
    )


def evaluated(folder: Path, examples: list[Example], splits: list[str], probed: list[Example]) -> Evaluation:
    settings = validate_settings(
        {"evaluate": {"splits": splits, "bootstrap_samples": 100, "probes": {"attention": None}}}, "test"
    )
    with open_run(folder, settings) as run:
        run.write(EXAMPLES, Example, examples)
        for model in ("base", "tuned"):
            answers = [Prediction(example_id=e.example_id, model=model, text="yes") for e in examples]
            run.write(predictions_of(model), Prediction, answers)
            rows = [
                Reliance(
                    example_id=e.example_id,
                    model=model,
                    image_sha256=e.image.sha256,
                    clean=-1.0,
                    lesion=-2.0,
                    elsewhere=-1.5,
                )
                for e in probed
            ]
            run.write(measured_by(PROBE, model), Reliance, rows)
        return evaluate(run)


def test_one_image_gives_means_and_a_note_in_place_of_an_interval(tmp_path: Path) -> None:
    alone = [example(1, "a", "test"), example(2, "a", "test")]
    wide = [example(1, "b", "other"), example(2, "c", "other")]
    found = evaluated(tmp_path / "r", [*alone, *wide], ["test", "other"], alone)
    assert found.splits[0].summaries["tuned"].metrics["closed_accuracy"].mean == 1.0
    assert {difference.split for difference in found.differences} == {"other"}
    assert found.probes == ()
    assert found.notes == (
        "test: all questions with closed accuracy are on one image; models are not compared",
        f"test: probe {PROBE} measured questions on one image only; it is left out",
    )


def test_a_split_without_such_questions_is_left_out(tmp_path: Path) -> None:
    reports = [example(1, "d", "other", "report")]
    wide = [example(1, "b", "test"), example(2, "c", "test")]
    settings = {
        "evaluate": {
            "splits": ["test", "other"],
            "answer_types": ["closed"],
            "bootstrap_samples": 100,
            "probes": {"attention": None},
        }
    }
    with open_run(tmp_path / "r", validate_settings(settings, "test")) as run:
        run.write(EXAMPLES, Example, [*reports, *wide])
        for model in ("base", "tuned"):
            answers = [Prediction(example_id=e.example_id, model=model, text="yes") for e in wide]
            run.write(predictions_of(model), Prediction, answers)
            run.write(measured_by(PROBE, model), Reliance, [])
        found = evaluate(run)
    assert [scores.split for scores in found.splits] == ["test"]
    assert found.notes == ("other: no question of evaluate.answer_types",)


def test_nothing_to_evaluate_is_an_error(tmp_path: Path) -> None:
    settings = {"evaluate": {"splits": ["test"], "answer_types": ["closed"]}}
    with open_run(tmp_path / "r", validate_settings(settings, "test")) as run:
        run.write(EXAMPLES, Example, [example(1, "d", "test", "report")])
        with pytest.raises(EvaluationError, match="no question of type closed in test"):
            evaluate(run)
