"""The table in the terminal."""

from __future__ import annotations

from pathlib import Path

from mmedpo.records import Evaluation
from mmedpo.records.evaluation import LABELS
from mmedpo.report.summary import print_summary, summary_lines
from report.finished_run import evaluation, full_run


def wide() -> Evaluation:
    """Every metric, the longest numbers there are, names of rounds."""
    small = evaluation()
    change = small.differences[0].model_copy(
        update={
            "model": "round-12", "questions": 123_456, "before": 1.0, "after": 0.0, "difference": -1.0,
            "low": -1.0, "high": -1.0, "p_adjusted": 0.0004,
        }
    )  # fmt: skip
    every = tuple(change.model_copy(update={"metric": metric}) for metric in LABELS)
    return small.model_copy(update={"differences": every})


def test_the_table_fits_80_columns_with_every_name_whole() -> None:
    lines = summary_lines(wide())
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert all(name in text for name in (*LABELS.values(), "round-12", "<0.001", "-100.0 to -100.0", "123456"))


def test_numbers_are_those_of_the_evaluation() -> None:
    lines = summary_lines(evaluation())
    assert lines[1] == "test-balanced: base against tuned, %"
    assert lines[2].split() == ["metric", "n", "base", "tuned", "diff.", "95", "%", "interval", "p"]
    assert lines[3].split() == ["closed", "accuracy", "12", "50.0", "75.0", "+25.0", "+10.0", "to", "+40.0", "0.020"]
    assert "Lesion reliance: base 0.100, tuned 0.800 nats" in lines


def test_a_long_path_is_not_broken_and_a_name_is_no_markup(tmp_path: Path, capsys) -> None:
    run = full_run(tmp_path / ("[bold]" + "a" * 90))
    run.file("report.html").write_text("")
    print_summary(run)
    assert f"report: {run.file('report.html').resolve()}\n" in capsys.readouterr().out
