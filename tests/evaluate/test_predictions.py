"""What training watches: a score of the answers of the moment."""

from __future__ import annotations

import pytest

from evaluate.scored import items
from mmedpo.evaluate.predictions import probe_scores


def test_the_watched_score_is_the_mean_of_closed_accuracy_and_open_recall() -> None:
    closed = items([1, 1, 1, 0])
    opened = [
        item.model_copy(update={"answer_type": "open", "values": {"open_recall": 0.25}}) for item in items([0, 0])
    ]
    found = probe_scores([*closed, *opened])
    assert found == {"probe_closed_accuracy": 0.75, "probe_open_recall": 0.25, "probe_score": 0.5}
    # A model that loses its open answers is worse, however well it says yes and no.
    lost = [item.model_copy(update={"values": {"open_recall": 0.0}}) for item in opened]
    assert probe_scores([*closed, *lost])["probe_score"] == pytest.approx(0.375)


def test_one_kind_of_question_alone_is_its_own_score() -> None:
    assert probe_scores(items([1, 0])) == {"probe_closed_accuracy": 0.5, "probe_score": 0.5}


def test_reports_are_watched_by_rouge_and_what_nobody_scored_by_nothing() -> None:
    closed = items([1, 0])
    reports = [item.model_copy(update={"values": {"bleu": 0.9, "rouge_l": 0.25}}) for item in closed]
    assert probe_scores(reports) == {"probe_rouge_l": 0.25, "probe_score": 0.25}
    assert probe_scores([item.model_copy(update={"values": {}}) for item in closed]) == {}
