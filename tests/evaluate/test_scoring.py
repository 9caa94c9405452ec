"""Joining by id, item scores and summaries; the statements about VQA-RAD on the real questions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from mmedpo.errors import ConfigError, EvaluationError
from mmedpo.evaluate.scoring import image_clusters, metric_values, score_predictions, summarise
from mmedpo.records import AnswerType, ErrorType, Example, ImageRef, ItemScore, MetricSummary, Prediction
from mmedpo.storage.tables import read_table, write_table


def example(number: int, answer: str, answer_type: AnswerType = "closed", error_type: ErrorType = "other") -> Example:
    image = ImageRef(path=f"{number // 2}.png", sha256=f"{number // 2:064d}", width=8, height=8)
    return Example(
        example_id=f"q{number}",
        dataset="d",
        split="test",
        image=image,
        question="?",
        answer=answer,
        answer_type=answer_type,
        error_type=error_type,
    )


def answer(number: int, text: str, model: str = "base") -> Prediction:
    return Prediction(example_id=f"q{number}", model=model, text=text)


EXAMPLES = [
    example(0, "yes", error_type="presence"),
    example(1, "no", error_type="presence"),
    example(2, "No", error_type="abnormality"),
    example(3, "left lung", "open", error_type="side"),
]
PREDICTIONS = [answer(0, "yes"), answer(1, "Yes"), answer(2, "no"), answer(3, "left")]


def test_the_order_of_predictions_does_not_matter() -> None:
    shuffled = random.Random(0).sample(PREDICTIONS, len(PREDICTIONS))
    items = score_predictions(EXAMPLES, shuffled, "strict")
    assert items == score_predictions(EXAMPLES, PREDICTIONS, "strict")
    assert [item.values.get("closed_accuracy") for item in items] == [1.0, 0.0, 1.0, None]
    assert [item.example_id for item in items] == ["q0", "q1", "q2", "q3"]


def test_questions_that_share_an_image_through_any_chain_are_one_cluster() -> None:
    def shown(number: int, *others: int) -> Example:
        further = tuple(example(2 * other, "yes").image for other in others)
        return example(2 * number, "yes").model_copy(update={"other_images": further})

    examples = [shown(3, 1), shown(2), shown(5, 2), shown(1, 4), shown(4, 7), shown(8, 5)]
    answers = [answer(int(item.example_id[1:]), "yes") for item in examples]
    clusters = image_clusters(score_predictions(examples, answers, "strict"))
    assert [int(clusters[item.example_id]) for item in examples] == [1, 2, 2, 1, 1, 2]


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        (PREDICTIONS[:2], r"2 missing prediction\(s\) of model 'base': q2, q3"),
        ([*PREDICTIONS, answer(1, "no")], r"1 duplicate prediction\(s\) of model 'base': q1"),
        ([*PREDICTIONS, answer(9, "no")], r"unknown example ids: q9"),
        ([*PREDICTIONS, answer(1, "no", model="tuned")], r"3 missing prediction\(s\) of model 'tuned'"),
        ([], r"no predictions for 4 example"),
    ],
)
def test_a_faulty_join_is_refused(predictions: list[Prediction], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        score_predictions(EXAMPLES, predictions, "strict")


def test_duplicate_examples_and_unknown_protocols_are_refused() -> None:
    with pytest.raises(EvaluationError, match="more than once: q0"):
        score_predictions([*EXAMPLES, EXAMPLES[0]], PREDICTIONS, "strict")
    with pytest.raises(ConfigError, match="llava-med"):
        score_predictions(EXAMPLES, PREDICTIONS, "lenient")


def test_summary_by_hand() -> None:
    summary = summarise(score_predictions(EXAMPLES, PREDICTIONS, "strict"))
    assert summary.metrics == {
        "closed_accuracy": MetricSummary(mean=2 / 3, n=3),
        "open_recall": MetricSummary(mean=0.5, n=1),
        "open_f1": MetricSummary(mean=2 / 3, n=1),
        "yes_rate": MetricSummary(mean=2 / 3, n=3),
        "yes_rate_reference": MetricSummary(mean=1 / 3, n=3),
        "closed_majority_baseline": MetricSummary(mean=2 / 3, n=3),
    }
    assert summary.by_error_type["presence"] == {"closed_accuracy": MetricSummary(mean=0.5, n=2)}
    assert set(summary.by_error_type) == {"abnormality", "presence", "side"}
    assert summary.notes == {"other-alternative": 1}
    assert summary.n_items == 4


def test_unscored_items_are_counted_and_not_averaged() -> None:
    examples = [example(0, "yes"), example(1, "?!")]
    items = score_predictions(examples, [answer(0, "yes"), answer(1, "yes")], "strict")
    summary = summarise(items)
    assert summary.metrics["closed_accuracy"] == MetricSummary(mean=1.0, n=1)
    assert summary.unscored == {"empty-reference": 1}
    assert metric_values(items, "closed_accuracy") == {"q0": 1.0}


def test_summaries_and_values_refuse_to_mix_models() -> None:
    both = [*PREDICTIONS, *(answer(int(p.example_id[1:]), "no", model="tuned") for p in PREDICTIONS)]
    items = score_predictions(EXAMPLES, both, "strict")
    assert [item.model for item in items] == ["base"] * 4 + ["tuned"] * 4
    with pytest.raises(EvaluationError, match="exactly one model"):
        summarise(items)
    with pytest.raises(EvaluationError, match="more than once"):
        metric_values(items, "closed_accuracy")
    with pytest.raises(EvaluationError, match="none"):
        summarise([])


def test_clusters_are_images() -> None:
    clusters = image_clusters(score_predictions(EXAMPLES, PREDICTIONS, "strict"))
    assert clusters["q0"] == clusters["q1"] != clusters["q2"]


def test_item_scores_survive_a_table(tmp_path: Path) -> None:
    items = score_predictions(EXAMPLES, PREDICTIONS, "strict")
    write_table(tmp_path / "scores.parquet", ItemScore, items)
    assert read_table(tmp_path / "scores.parquet", ItemScore) == items


@pytest.fixture(scope="module")
def vqa_rad_test(shared_data: Path) -> list[Example]:
    rows = json.loads((shared_data / "vqa_rad" / "VQA_RAD_Dataset_Public.json").read_text(encoding="utf-8"))
    return [
        Example(
            example_id=str(row["qid"]),
            dataset="vqa-rad",
            split="test",
            image=ImageRef(path=row["image_name"], sha256=row["image_name"], width=1, height=1),
            question=row["question"],
            answer=str(row["answer"]).strip(),
            answer_type="closed" if row["answer_type"].strip() == "CLOSED" else "open",
        )
        for row in rows
        if row["phrase_type"].startswith("test_")
    ]


def closed_accuracy(examples: list[Example], text: str | None, protocol: str) -> MetricSummary:
    """Everything answered with `text`, or with the ground truth where it is None."""
    predictions = [
        Prediction(example_id=e.example_id, model="base", text=e.answer if text is None else text) for e in examples
    ]
    return summarise(score_predictions(examples, predictions, protocol)).metrics["closed_accuracy"]


def test_yes_no_everywhere_fools_the_released_scorer_only(vqa_rad_test: list[Example]) -> None:
    assert len(vqa_rad_test) == 451
    # 251 of the 272 closed questions are yes/no questions: 92.3 %.
    assert closed_accuracy(vqa_rad_test, "yes no", "released") == MetricSummary(mean=251 / 272, n=272)
    assert closed_accuracy(vqa_rad_test, "yes no", "llava-med").mean == 251 / 272
    assert closed_accuracy(vqa_rad_test, "yes no", "strict") == MetricSummary(mean=0.0, n=272)


def test_one_word_earns_the_no_questions_under_the_released_scorer_only(vqa_rad_test: list[Example]) -> None:
    # "abnormal" holds "no": 133 no-questions, and the 3 whose answer is "abnormal".
    assert closed_accuracy(vqa_rad_test, "abnormal", "released").mean == 136 / 272
    assert closed_accuracy(vqa_rad_test, "abnormal", "strict").mean == 3 / 272
    assert closed_accuracy(vqa_rad_test, "no", "strict").mean == 133 / 272


def test_always_no_prints_full_marks_in_the_llava_med_script(vqa_rad_test: list[Example]) -> None:
    predictions = [Prediction(example_id=e.example_id, model="base", text="no") for e in vqa_rad_test]
    found = summarise(score_predictions(vqa_rad_test, predictions, "llava-med")).metrics
    assert found["closed_accuracy"] == MetricSummary(mean=133 / 272, n=272)
    assert found["closed_accuracy_printed"] == MetricSummary(mean=1.0, n=133)


def test_the_ground_truth_itself_scores_full_marks(vqa_rad_test: list[Example]) -> None:
    assert closed_accuracy(vqa_rad_test, None, "strict").mean == 1.0
    assert closed_accuracy(vqa_rad_test, None, "released").mean == 1.0
    # LLaVA-Med's script cannot credit the other 21, save 3 x "abnormal", which holds "no".
    assert closed_accuracy(vqa_rad_test, None, "llava-med").mean == 254 / 272
    predictions = [Prediction(example_id=e.example_id, model="base", text=e.answer) for e in vqa_rad_test]
    summary = summarise(score_predictions(vqa_rad_test, predictions, "strict"))
    assert summary.metrics["open_recall"] == MetricSummary(mean=1.0, n=179)
    assert summary.metrics["yes_rate"] == summary.metrics["yes_rate_reference"] == MetricSummary(mean=118 / 251, n=251)
    assert summary.metrics["closed_majority_baseline"] == MetricSummary(mean=133 / 272, n=272)
