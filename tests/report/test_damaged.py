"""What a run folder holds is data: a report of a damaged one is refused in one short line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from mmedpo.errors import RunFolderError
from mmedpo.records import ItemScore, Prediction
from mmedpo.report.stored import read_stored
from mmedpo.report.summary import print_summary
from mmedpo.run import Run
from report.finished_run import full_run

DEEP = "[" * 100_000


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    return full_run(tmp_path / "r")


def _refused(run: Run, match: str) -> None:
    with pytest.raises(RunFolderError, match=match) as caught:
        read_stored(run)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(run.path))


@pytest.mark.parametrize(
    "content", ["", DEEP, "3", "[]", '{"notes": 3}', '{"notes": [[]]}', '{"data_use": {}}', "\udcff"]
)
def test_notes_of_the_data(finished: Run, content: str) -> None:
    finished.file("data.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    _refused(finished, "data.json is damaged")


@pytest.mark.parametrize("content", ["", DEEP, "3", "{}", '{"models": "x"}', "\udcff\udce8"])
def test_the_table_a_run_ends_with(finished: Run, content: str) -> None:
    finished.file("evaluation.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunFolderError, match="evaluation.json is damaged") as caught:
        print_summary(finished)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", DEEP, "3", "{}", '{"models": "x"}', "null"])
def test_an_evaluation(finished: Run, content: str) -> None:
    finished.file("evaluation.json").write_text(content)
    _refused(finished, "evaluation.json is damaged")


ENTRIES = [
    {"loss": 1.0},
    {"step": None},
    {"step": "<script>"},
    {"step": 1.5},
    {"step": -1},
    {"step": 1e300},
    {"step": 1, "loss": "x" * 100_000},
    {"step": 1, "probe_score": None},
    3,
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_training_log(finished: Run, entry: object) -> None:
    finished.file("train/log.json").parent.mkdir(exist_ok=True)
    finished.file("train/log.json").write_text(json.dumps([entry]))
    _refused(finished, "log.json is damaged")


def test_a_value_that_was_not_finite_is_kept(finished: Run) -> None:
    finished.file("train/log.json").parent.mkdir(exist_ok=True)
    finished.file("train/log.json").write_text('[{"step": 3, "loss": NaN, "grad_norm": Infinity, "probe_loss": null}]')
    (entry,) = read_stored(finished).log
    assert entry["step"] == 3
    assert math.isnan(entry["loss"])


def test_answers_and_scores_that_do_not_belong_together(finished: Run) -> None:
    scores = finished.read("scores.parquet", ItemScore)
    finished.write("predictions/base.parquet", Prediction, [])
    _refused(finished, "scores .*, which predictions/base.parquet does not hold")
    assert scores


def test_a_long_value_in_a_table_is_shortened(finished: Run) -> None:
    import pyarrow.parquet as pq

    path = finished.file("scores.parquet")
    table = pq.read_table(path)
    at = table.column_names.index("answer_type")
    pq.write_table(table.set_column(at, "answer_type", [["x" * 1_000_000] * len(table)]), path)
    _refused(finished, "scores.parquet holds answer_type='xxx")
